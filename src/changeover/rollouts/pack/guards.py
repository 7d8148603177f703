"""The guards of a rollout, checked against the candidate's exchanges: the one place that knows how they count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from changeover.evals.canary import bad_event_evidence
from changeover.evals.replay import TOLERANCE
from changeover.rollouts.decide import Evidence, Plan
from changeover.rollouts.pack.records import CLOCKS_APART, Asked, GuardTotals
from changeover.tasks.exchanges import Outcomes


def counts(asked: Asked, candidate: str) -> bool:
    """Whether an exchange says something of the candidate: not if its caller gave it up or asked wrongly."""
    answered = asked.variant == candidate and not asked.abandoned and not 400 <= asked.status < 500
    return candidate in asked.failed_variants or answered


def failed(asked: Asked, candidate: str) -> bool:
    """Whether the candidate failed: an error, a broken stream, or an answer that somebody else had to give."""
    return candidate in asked.failed_variants or asked.status >= 500 or asked.truncated


@dataclass(kw_only=True)
class Tally:
    """Totals of the candidate's exchanges, as they come."""

    candidate: str
    records: int = 0
    asked: int = 0
    failed: int = 0
    copies: int = 0
    violations: int = 0

    def add(self, asked: Asked) -> None:
        self.records += 1
        self.copies += asked.copy_of is not None
        self.violations += asked.violation is not None
        if counts(asked, self.candidate):
            self.asked += 1
            self.failed += failed(asked, self.candidate)

    def totals(self, order: Literal["written", "numbered"], missing: str | None) -> GuardTotals:
        return GuardTotals(
            records=self.records,
            asked=self.asked,
            failed=self.failed,
            copies=self.copies,
            violations=self.violations,
            order=order,
            missing=missing,
        )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What one decision knew."""

    action: str
    at: datetime
    step_started_at: datetime
    step_revision: int | None
    """Of the route that its step entered; None: none."""
    baking: bool
    evidence: Evidence


_COPIES = ((True, False), (True,), (False,))
"""A step counts copies, or what callers asked; before there were copies, all."""


@dataclass(frozen=True)
class _Counted:
    """An exchange that says something of the candidate."""

    at: datetime
    revision: int | None
    bad: bool
    copy: bool


@dataclass
class Guards:
    """What does not agree."""

    decisions: int = 0
    totals: list[str] = field(default_factory=list[str])
    """Where the exchanges are told otherwise than they are."""
    counts: list[str] = field(default_factory=list[str])
    """Decisions that counted otherwise than the exchanges say."""
    evidence: list[str] = field(default_factory=list[str])
    """Decisions whose evidence does not follow from what they counted."""
    recomputed: int = 0
    """E-values that were worked out again."""
    unknown: list[str] = field(default_factory=list[str])
    """Guards whose evidence cannot be worked out from counts."""


def check_guards(
    plan: Plan, decisions: Sequence[Decided], seen: Iterable[Asked], candidate: str, told: GuardTotals
) -> Guards:
    """Compare what each decision counted with the exchanges themselves, and work out the guards' evidence again.

    A decision saw the exchanges that were written by then: the first so many in order of arrival. Where several writers
    draw numbers, which ones were there is not known, and only that there were enough of them is checked.
    """
    found = Guards(decisions=len(decisions))
    stream: list[_Counted] = []
    tally = Tally(candidate=candidate)
    for asked in seen:
        tally.add(asked)
        bad = failed(asked, candidate)
        if bad != asked.failed:
            found.totals.append(f"exchange {asked.id} is said to have {'failed' if asked.failed else 'gone well'}")
        if counts(asked, candidate):
            stream.append(_Counted(asked.at, asked.revision, bad, asked.copy_of is not None))
    if tally.totals(told.order, told.missing) != told:
        found.totals.append(f"the totals are told otherwise than {tally.records} records say")
    for decided in decisions:
        differs = _numbered(decided, stream) if told.order == "numbered" else _written(decided, stream)
        if differs is not None:
            whole = decided.evidence.whole
            found.counts.append(
                f"{decided.action} at {decided.at:%H:%M:%S} counted {whole.failed} of {whole.asked} failed; {differs}"
            )
        _check_evidence(plan, decided, found)
    return found


def _written(decided: Decided, stream: Sequence[_Counted]) -> str | None:
    """What the exchanges say otherwise than a decision that saw the first so many of them."""
    whole, step = decided.evidence.whole, decided.evidence.step
    # Versions that made no copies counted none; what they wrote then is the same either way.
    for counted in (stream, [each for each in stream if not each.copy]):
        seen = counted[: whole.asked]
        if len(seen) == whole.asked and sum(each.bad for each in seen) == whole.failed:
            now = [each for each in seen if _is_of_step(each, decided)]
            # Earlier versions told a step's requests by the time.
            timed = [each for each in seen if each.at >= decided.step_started_at]
            kinds = [[each for each in some if each.copy in copies] for some in (now, timed) for copies in _COPIES]
            if step in map(_outcomes, kinds):
                return None
            return f"in its step {step.failed} of {step.asked}, where {_outcomes(now).failed} of {len(now)} did"
    if len(stream) < whole.asked:
        return f"only {len(stream)} are there"
    return f"of the first {whole.asked}, {_outcomes(stream[: whole.asked]).failed} did"


def _is_of_step(counted: _Counted, decided: Decided) -> bool:
    if decided.step_revision is None or counted.revision is None:
        return counted.at >= decided.step_started_at
    return counted.revision >= decided.step_revision


def _numbered(decided: Decided, stream: Sequence[_Counted]) -> str | None:
    """What speaks against a decision that saw some of the exchanges which had begun by then."""
    whole = decided.evidence.whole
    begun = _outcomes([each for each in stream if each.at <= decided.at + CLOCKS_APART])
    enough = whole.asked <= begun.asked and whole.failed <= begun.failed
    return None if enough else f"{begun.failed} of {begun.asked} that had begun did"


def _outcomes(counted: Sequence[_Counted]) -> Outcomes:
    return Outcomes(asked=len(counted), failed=sum(each.bad for each in counted))


def _check_evidence(plan: Plan, decided: Decided, found: Guards) -> None:
    evidence = decided.evidence
    errors = next((reading for reading in evidence.guards if reading.name == "errors"), None)
    found.unknown += [reading.name for reading in evidence.guards if reading.name != "errors" or decided.baking]
    if evidence.guards and (errors is None or decided.baking):
        return
    tolerated = plan.tolerated_failures if errors is None else errors.tolerated
    events = evidence.whole.asked if errors is None else errors.events
    bad = evidence.whole.failed if errors is None else errors.bad
    kept = evidence.guard if errors is None else errors.evidence
    now = bad_event_evidence(tolerated, events=events, bad_events=bad)
    found.recomputed += 1
    where = f"{decided.action} at {decided.at:%H:%M:%S}"
    if not math.isclose(kept, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        found.evidence.append(f"{where}: the guard on errors says {kept:g}, its counts say {now:g}")
    if tolerated != plan.tolerated_failures:
        found.evidence.append(f"{where}: the guard tolerated {tolerated:g}, the plan {plan.tolerated_failures:g}")

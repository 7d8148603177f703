"""The guards of a rollout, checked against the candidate's exchanges: the one place that knows how they count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from changeover.evals.canary import DriftDetector, bad_event_evidence
from changeover.evals.replay import TOLERANCE
from changeover.evals.sequential import PairedTest, TestPlan
from changeover.rollouts.decide import Evidence, Plan, Reading, Rollout
from changeover.rollouts.guards import weights
from changeover.rollouts.observing import SHADOW_ALPHA
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.records import CLOCKS_APART, Asked, GuardTotals
from changeover.rollouts.shadow_queries import FIRST
from changeover.tasks.exchanges import Outcomes

MOST_IN_FLIGHT = 500
"""Requests that may have been under way at a promotion."""


def counts(asked: Asked, candidate: str) -> bool:
    """Whether an exchange says something of the candidate: not if its caller gave it up or asked wrongly."""
    whole = asked.status < 300 and not asked.truncated and not asked.abandoned
    return failed(asked, candidate) or (asked.variant == candidate and whole)


def failed(asked: Asked, candidate: str) -> bool:
    """Whether the candidate failed: an error, a broken stream, or an answer that somebody else had to give."""
    broken = asked.variant == candidate and (asked.status >= 500 or asked.truncated)
    return candidate in asked.failed_variants or broken


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
    before: Rollout
    revisions: tuple[int, int] | None
    """Of the routes by which the candidate was asked until then: the first, and that of the step."""
    evidence: Evidence

    @property
    def told(self) -> str:
        return f"{self.action} at {self.at:%H:%M:%S}"

    @property
    def timed(self) -> bool:
        """Whether a version decided it that told by the time, and not by the route, what belongs to a rollout."""
        return not self.evidence.guards

    def is_own(self, asked: _Counted) -> bool:
        """Whether a request was the rollout's."""
        if self.timed:
            return asked.at >= self.before.created_at
        return self.revisions is not None and asked.revision >= self.revisions[0]

    def is_of_step(self, asked: _Counted) -> bool:
        """Whether it was its step's."""
        if self.timed:
            return asked.at >= self.before.step_started_at
        return self.revisions is not None and asked.revision >= self.revisions[1]


@dataclass(frozen=True)
class _Counted:
    """An exchange that says something of the candidate."""

    at: datetime
    revision: int
    bad: bool
    copy: bool
    violated: bool


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
    """Guards whose evidence cannot be worked out from what the pack holds."""


def check_guards(rollout: Rollout, decisions: Sequence[Decided], files: Files) -> Guards:
    """Compare what each decision counted with the exchanges themselves, and work out the guards' evidence again.

    A decision saw the exchanges that were written by then: the first so many in order of arrival. Where several writers
    draw numbers, which ones were there is not known, and only that there were enough of them is checked.

    Which answers were slow is not worked out again: that would take every answer of the incumbent's.
    """
    told, candidate = files.rollout.guard, rollout.candidate
    found = Guards(decisions=len(decisions))
    stream: list[_Counted] = []
    tally = Tally(candidate=candidate)
    for asked in files.guard():
        tally.add(asked)
        bad = failed(asked, candidate)
        if bad != asked.failed:
            found.totals.append(f"exchange {asked.id} is said to have {'failed' if asked.failed else 'gone well'}")
        if counts(asked, candidate):
            copy, revision = asked.copy_of is not None, asked.revision or 0
            stream.append(_Counted(asked.at, revision, bad, copy, violated=asked.violation is not None))
    if tally.totals(told.order, told.missing) != told:
        found.totals.append(f"the totals are told otherwise than {tally.records} records say")
    rated = [(rating.revision or 0, rating.good) for rating in files.feedback() if rating.first]
    ordered = told.order == "written"
    before_promotion = 0
    for decided in decisions:
        own = [asked for asked in stream if decided.is_own(asked)]
        differs = _written(decided, own) if ordered else _numbered(decided, own)
        if differs is not None:
            whole = decided.evidence.whole
            found.counts.append(f"{decided.told} counted {whole.failed} of {whole.asked} failed; {differs}")
        if not decided.evidence.guards:
            _check_single(rollout.plan, decided, found)
            continue
        ratings = [good for revision, good in rated if decided.revisions and revision >= decided.revisions[0]]
        baking = decided.before.state == "baking"
        drifting = baking and decided.evidence.guard > 0
        if not baking:
            before_promotion = decided.evidence.whole.asked
        if drifting or not baking:  # until the first request after a promotion there is nothing to weigh
            _check_sum(decided, found)
        for reading in decided.evidence.guards:
            if drifting:
                _check_drift(reading, decided, own[before_promotion:], ordered, found)
            elif not baking:
                _check_reading(reading, decided, own, ratings, ordered, found)
        weighed = baking and decided.evidence.exchange is None
        if weighed and not drifting and any(map(decided.is_of_step, own[: decided.evidence.whole.asked])):
            found.evidence.append(f"{decided.told}: the guards say nothing, and there were requests")
    return found


def _written(decided: Decided, stream: Sequence[_Counted]) -> str | None:
    """What the exchanges say otherwise than a decision that saw the first so many of them."""
    whole, step = decided.evidence.whole, decided.evidence.step
    seen = stream[: whole.asked]
    if len(seen) < whole.asked:
        return f"only {len(stream)} are there"
    if (there := _outcomes(seen)) != whole:
        return f"of the first {whole.asked}, {there.failed} did"
    # A copy is no request of a caller's: it counts where copies are asked for, and nowhere else.
    copies = decided.before.state == "shadow"
    own = _outcomes([each for each in seen if decided.is_of_step(each) and each.copy == copies])
    return None if own == step else f"in its step {step.failed} of {step.asked}, where {own.failed} of {own.asked} did"


def _numbered(decided: Decided, stream: Sequence[_Counted]) -> str | None:
    """What speaks against a decision that saw some of the exchanges which had begun by then."""
    whole = decided.evidence.whole
    begun = _outcomes([each for each in stream if each.at <= decided.at + CLOCKS_APART])
    enough = whole.asked <= begun.asked and whole.failed <= begun.failed
    return None if enough else f"{begun.failed} of {begun.asked} that had begun did"


def _outcomes(counted: Sequence[_Counted]) -> Outcomes:
    return Outcomes(asked=len(counted), failed=sum(each.bad for each in counted))


def _check_single(plan: Plan, decided: Decided, found: Guards) -> None:
    """The one guard of versions that had no others: on errors, from the counts alone, and always on."""
    whole = decided.evidence.whole
    now = bad_event_evidence(plan.tolerated_failures, events=whole.asked, bad_events=whole.failed)
    found.recomputed += 1
    if not _same(decided.evidence.guard, now):
        found.evidence.append(f"{decided.told}: the guard says {decided.evidence.guard:g}, its counts say {now:g}")


def _check_sum(decided: Decided, found: Guards) -> None:
    """All guards together are the weighted sum of each."""
    evidence = decided.evidence
    shares = weights(decided.before.plan, promoted=decided.before.state == "baking")
    now = sum(shares[reading.name] * reading.evidence for reading in evidence.guards)
    if len({reading.name for reading in evidence.guards}) != len(shares) or not _same(evidence.guard, now):
        found.evidence.append(f"{decided.told}: all guards say {evidence.guard:g}, each of them together {now:g}")


def _check_reading(
    reading: Reading,
    decided: Decided,
    stream: Sequence[_Counted],
    ratings: Sequence[bool],
    ordered: bool,
    found: Guards,
) -> None:
    """Before the promotion a guard's evidence follows from its counts, and those from the first so many events."""
    where = f"{decided.told}: the guard on {reading.name}"
    tolerated = _tolerated(decided.before.plan, reading)
    if reading.tolerated != tolerated:
        found.evidence.append(f"{where} tolerated {reading.tolerated:g}, the plan {tolerated:g}")
    now = bad_event_evidence(tolerated, events=reading.events, bad_events=reading.bad)
    found.recomputed += 1
    if not _same(reading.evidence, now):
        found.evidence.append(f"{where} says {reading.evidence:g}, its counts say {now:g}")
    events = _events(reading, stream, ratings)
    if events is None:
        found.unknown += ["which answers were slow"] if reading.events else []
    elif ordered or reading.name == "feedback":
        bad = sum(events[: reading.events])
        if len(events) < reading.events or bad != reading.bad:
            found.counts.append(f"{where} counted {reading.bad} of {reading.events}, where {bad} were bad")
    elif sum(events) < reading.bad or len(events) < reading.events:
        found.counts.append(f"{where} counted {reading.bad} of {reading.events}, of which there are not so many")


def _check_drift(reading: Reading, decided: Decided, stream: Sequence[_Counted], ordered: bool, found: Guards) -> None:
    """After the promotion a guard's evidence follows from its events in their order.

    They begin anew with the first request that was asked after it. One of before that is answered later is counted there
    if anybody's answer came first; nobody wrote down whether one did, so each place up to there may have been it.
    """
    begins = next((place for place, each in enumerate(stream) if decided.is_of_step(each)), None)
    if not reading.events:
        return
    if not ordered or reading.name not in ("errors", "violations") or begins is None:
        found.unknown.append(f"the guard on {reading.name} after the promotion")
        return
    tolerated = _tolerated(decided.before.plan, reading)
    for start in range(begins, max(begins - MOST_IN_FLIGHT, 0) - 1, -1):
        events = (_events(reading, stream[start:], ()) or [])[: reading.events]
        detector = DriftDetector(tolerated)
        for bad in events:
            detector.update(bad)
        same = (detector.events, detector.bad_events) == (reading.events, reading.bad)
        if same and _same(detector.evidence, reading.evidence):
            found.recomputed += 1
            return
    found.evidence.append(f"{decided.told}: the guard on {reading.name} does not follow from the requests")


def _events(reading: Reading, stream: Sequence[_Counted], ratings: Sequence[bool]) -> list[bool] | None:
    """What a guard watches, in order: whether each was bad. None where the pack does not hold it."""
    if reading.name == "errors":
        return [each.bad for each in stream]
    if reading.name == "violations":
        return [each.violated for each in stream if not each.bad]  # nothing is known of an answer that is none
    return [not good for good in ratings] if reading.name == "feedback" else None


def _tolerated(plan: Plan, reading: Reading) -> float:
    return {
        "errors": plan.tolerated_failures,
        "violations": plan.tolerated_violations,
        "latency": plan.tolerated_slow,
        "feedback": plan.tolerated_dislikes,
    }[reading.name]


def _same(kept: float, now: float) -> bool:
    return math.isclose(kept, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def check_scores(rollout: Rollout, decisions: Sequence[Decided], files: Files) -> list[str]:
    """What decisions took the scores of copied requests for, and the scores do not show."""
    test = PairedTest(TestPlan(margin=rollout.plan.shadow_margin, alpha=SHADOW_ALPHA, beta=SHADOW_ALPHA))
    for score in files.shadow_scores():
        if not score.scorer.startswith(FIRST):
            continue
        if score.candidate_score is not None and score.incumbent_score is not None:
            test.update(score.candidate_score - score.incumbent_score)
    shown = test.evidence.verdict
    return [
        f"{decided.told}: it took the scores of copies for `{decided.evidence.scored}`, and they show `{shown}`"
        for decided in decisions
        if decided.evidence.scored in ("pass", "fail") and decided.evidence.scored != shown
    ]

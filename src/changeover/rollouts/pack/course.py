"""Whether a rollout went as its rules ask: each decision once more, from the evidence that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from changeover.core.actors import SYSTEM
from changeover.rollouts.actions import NEXT_BEGAN
from changeover.rollouts.decide import (
    Advance,
    Decision,
    Evidence,
    Finish,
    Hold,
    Promote,
    Refuse,
    RollBack,
    Rollout,
    Settle,
    State,
    decide,
    missing_approvals,
)
from changeover.rollouts.exchange import SETTLED
from changeover.rollouts.pack.checks import Check, found, unknown
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.guards import Decided, check_guards, check_scores
from changeover.rollouts.queries import Event, Gate

_DECIDES: dict[str, type[Decision]] = {
    "advance": Advance,
    "promote": Promote,
    "refuse": Refuse,
    "rollback": RollBack,
    "finish": Finish,
    "confirm": Promote,
    SETTLED: Settle,
}
"""Actions that follow from evidence where there is some; the rest are people's, or need none."""
_NEVER_BY_HAND = ("advance", "refuse", SETTLED)
_ENDS: dict[str, State] = {
    "promote": "baking",
    "confirm": "done",
    SETTLED: "baking",
    "finish": "done",
    "rollback": "rolled_back",
    "abort": "aborted",
    "refuse": "refused",
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One event, and the rollout as it stood before and after it."""

    event: Event
    before: Rollout
    after: Rollout
    evidence: Evidence | None
    """What it was decided from; None where a person decided."""

    @property
    def enters(self) -> bool:
        """Whether requests reach the candidate in another way from here on."""
        return self.event.action in ("start", "advance", "promote", "confirm") and self.event.revision is not None

    @property
    def told(self) -> str:
        return f"{self.event.action} at {self.event.at:%Y-%m-%d %H:%M:%S}"


def moments(rollout: Rollout, events: Sequence[Event]) -> Iterator[Moment]:
    """Live through a rollout again, by its events alone."""
    now = replace(
        rollout, state="evaluation", step=0, step_started_at=rollout.created_at, hold=None, override=None, ended_at=None
    )
    for event in events:
        after = _after(now, event)
        decided = event.action in _DECIDES and "whole" in event.evidence
        evidence = msgspec.convert(dict(event.evidence), Evidence) if decided else None
        yield Moment(event=event, before=now, after=after, evidence=evidence)
        now = after


def _after(now: Rollout, event: Event) -> Rollout:
    action = event.action
    if action in ("start", "advance"):
        if event.revision is None:
            return now
        next_one = 0 if action == "start" or now.state == "evaluation" else now.step + 1
        step = int(event.evidence.get("entered", next_one))
        return replace(now, state=now.plan.steps[step].kind, step=step, step_started_at=event.at, hold=None)
    if action in _ENDS:
        return replace(now, state=_ENDS[action], step_started_at=event.at, hold=None)
    if action in ("pause", "hold"):
        kind = "paused" if action == "pause" else "held"
        return replace(now, hold=Hold(kind=kind, actor=event.actor, reason=event.reason, since=event.at))
    return replace(now, hold=None) if action in ("resume", "override") else now


def check_course(files: Files, verdict: str | None) -> list[Check]:
    """Check everything that happened.

    Args:
        files: The pack.
        verdict: Of the comparison that the rollout names, as its scores say; None: there is none.
    """
    file = files.rollout
    lived = list(moments(file.rollout, file.events))
    return [
        _check_state(file.rollout, lived),
        *check_guard_records(files, lived),
        _check_decisions(files, lived, verdict),
        _check_gate(files, lived, verdict),
        _check_approvals(files, lived),
        _check_overrides(files, lived),
        _check_routes(files, lived),
    ]


def _check_state(rollout: Rollout, lived: Sequence[Moment]) -> Check:
    differs: list[str] = []
    if not lived or lived[0].event.action != "start":
        differs.append("its first event is not its start")
    elif (lived[0].event.actor, lived[0].event.at) != (rollout.actor, rollout.created_at):
        differs.append("somebody else started it, or at another time")
    if any(moment.event.rollout != rollout.id for moment in lived):
        differs.append("some events are another rollout's")
    over = [moment.told for moment in lived if moment.before.state in ("aborted", "refused")]
    differs += [f"{told} came after its end" for told in over]
    ended = lived[-1].after if lived else rollout
    if (ended.state, ended.step) != (rollout.state, rollout.step):
        differs.append(
            f"its events lead to {ended.state}, step {ended.step + 1}; it says {rollout.state}, {rollout.step + 1}"
        )
    return found("events", differs, f"{len(lived)} events lead to `{rollout.state}`")


def check_guard_records(files: Files, lived: Sequence[Moment]) -> list[Check]:
    """The guards' counts and evidence, against the exchanges."""
    file = files.rollout
    decisions = [
        Decided(
            action=moment.event.action,
            at=moment.event.at,
            before=moment.before,
            revisions=_revisions(files, lived[:place]),
            evidence=moment.evidence,
        )
        for place, moment in enumerate(lived)
        if moment.evidence is not None
    ]
    guards = check_guards(file.rollout, decisions, files)
    counted = f"{file.guard.records} records, as {guards.decisions} decisions counted them"
    if not decisions:
        counted = f"{file.guard.records} records; no decision was made from them"
    counts = found("guard counts", guards.totals, counted)
    if not guards.totals:
        counts = found("guard counts", guards.counts, counted)
        if guards.counts and file.guard.missing is not None:
            counts = unknown("guard counts", file.guard.missing)
    says = f"{guards.recomputed} e-values of guards follow from what they counted"
    evidence = found("guard evidence", guards.evidence, says)
    if not guards.evidence and guards.unknown:
        names = ", ".join(dict.fromkeys(guards.unknown))
        evidence = unknown("guard evidence", f"{says}; not worked out again: {names}")
    scores = sum(1 for _ in files.shadow_scores())
    shown = found("shadow scores", check_scores(file.rollout, decisions, files), f"{scores} scores of copied requests")
    return [counts, evidence, shown]


def _revisions(files: Files, lived: Sequence[Moment]) -> tuple[int, int] | None:
    """Route revisions by which the candidate was asked after these events: the first one, and that of the last step."""
    own = [moment.event.revision for moment in lived if moment.event.revision is not None]
    if own:
        return own[0], own[-1]
    # What is rechecked answered already, by a route that no rollout wrote.
    found = [each.revision for each in files.routes[:1] if each.incumbent == files.rollout.rollout.candidate]
    return (found[0], found[0]) if found else None


def _check_decisions(files: Files, lived: Sequence[Moment], verdict: str | None) -> Check:
    """Each decision is the one that the rules give, by its evidence; without any only people decide."""
    differs: list[str] = []
    number = 0
    for moment in lived:
        if moment.evidence is None:
            if _lacks_evidence(moment.event):
                differs.append(f"{moment.told}: its evidence is not there")
            continue
        number += 1
        decided = decide(moment.before, moment.evidence, moment.event.at)
        if not isinstance(decided, _DECIDES[moment.event.action]):
            differs.append(f"{moment.told}: by its evidence it was to {_name(decided)} ({decided.reason})")
        elif isinstance(decided, Advance) and decided.step != moment.after.step:
            differs.append(f"{moment.told}: by its evidence it was to go to step {decided.step + 1}")
        if moment.evidence.verdict not in (None, verdict):
            differs.append(f"{moment.told}: it took the verdict for `{moment.evidence.verdict}`")
        agreed = {each.actor for each in files.approvals if each.at <= moment.event.at}
        if strangers := sorted(set(moment.evidence.approved) - agreed):
            differs.append(f"{moment.told}: {', '.join(strangers)} had not approved")
        differs += [
            f"{moment.told}: no override of the {gate} was open"
            for gate in moment.evidence.overridden
            if not _open(files, gate, moment.event.at)
        ]
    hands = sum(m.evidence is None and m.event.action in ("promote", "abort", "rollback") for m in lived)
    by_hand = f"; {hands} made by hand" if hands else ""
    return found("decisions", differs, f"{number} follow from their evidence{by_hand}")


def _lacks_evidence(event: Event) -> bool:
    """Whether no person decided it, and nothing says why it was decided."""
    if event.action in _NEVER_BY_HAND:
        return True
    return event.action in _DECIDES and event.actor == SYSTEM and event.reason != NEXT_BEGAN


def _name(decided: Decision) -> str:
    return type(decided).__name__.lower()


def _check_gate(files: Files, lived: Sequence[Moment], verdict: str | None) -> Check:
    """Nothing reached the candidate before a comparison had passed, unless somebody took that on."""
    rollout = files.rollout.rollout
    entered = next((moment for moment in lived if moment.enters), None)
    if entered is None:
        measured = "no comparison" if rollout.comparison is None else f"the comparison says `{verdict}`"
        return Check(name="gate", holds=True, says=f"{measured}; the candidate got no request")
    by_id = {each.id: each for each in files.comparisons}
    comparison = by_id.get(rollout.comparison or "")
    if _open(files, "evaluation", entered.event.at):
        return Check(name="gate", holds=True, says=f"overridden at the {entered.told}")
    if comparison is None:
        return found("gate", [f"{entered.told} without a comparison and without an override: nobody measured"], "")
    differs: list[str] = []
    if verdict != "pass":
        differs.append(f"{entered.told}, though the comparison says `{verdict}`")
    if comparison.ended_at is None or comparison.ended_at > entered.event.at:
        differs.append(f"{entered.told}, before the comparison had ended")
    return found("gate", differs, f"{comparison.id} had passed before the {entered.told}")


def _check_approvals(files: Files, lived: Sequence[Moment]) -> Check:
    """Where the plan asks for approvals, enough of those who may had given them, and none of them had started it."""
    rollout, approvals = files.rollout.rollout, files.approvals
    plan = rollout.plan
    written = [(moment.event.actor, moment.event.at) for moment in lived if moment.event.action == "approve"]
    differs: list[str] = []
    if sorted(written) != sorted((each.actor, each.at) for each in approvals):
        differs.append("the history tells other approvals")
    if any(each.rollout != rollout.id for each in approvals):
        differs.append("some approvals are another rollout's")
    overridden = False
    for moment in lived:
        gated = moment.event.action in ("promote", "confirm") or (
            moment.after.state == "canary" and plan.approve_before == "canary"
        )
        if not moment.enters or not gated:
            continue
        given = [each.actor for each in approvals if each.at <= moment.event.at]
        missing = missing_approvals(rollout, given)
        if missing and _open(files, "approval", moment.event.at):
            overridden = True
        elif missing:
            differs.append(f"{moment.told} with {plan.approvals - missing} of {plan.approvals} approvals")
    names = ", ".join(each.actor for each in approvals) or "nobody"
    says = f"{plan.approvals} asked for, given by {names}" if plan.approvals else "none asked for"
    return found("approvals", differs, says + ("; overridden" if overridden else ""))


def _check_overrides(files: Files, lived: Sequence[Moment]) -> Check:
    """Overrides are this rollout's, told in its history, and by somebody who may."""
    rollout, overrides = files.rollout.rollout, files.overrides
    plan = rollout.plan
    written = [(moment.event.actor, moment.event.at) for moment in lived if moment.event.action == "override"]
    differs: list[str] = []
    if sorted(written) != sorted((each.actor, each.created_at) for each in overrides):
        differs.append("the history tells other overrides")
    for each in overrides:
        where = f"override {each.id}"
        if (each.rollout, each.task) != (rollout.id, rollout.task):
            differs.append(f"{where} is another rollout's")
        if not each.reason:
            differs.append(f"{where} has no reason")
        if each.expires_at <= each.created_at:
            differs.append(f"{where} had expired when it was made")
        if plan.approvers and each.approver not in plan.approvers:
            differs.append(f"{where} was approved by `{each.approver}`, who may not")
        if plan.tier == "high" and each.approver == rollout.actor:
            differs.append(f"{where} was approved by `{each.approver}`, who started the rollout")
    says = ", ".join(f"{each.gate} by {each.approver}" for each in overrides) or "none"
    return found("overrides", differs, says)


def _open(files: Files, gate: Gate | str, at: datetime) -> bool:
    """Whether an override of a gate held at a moment."""
    return any(
        each.gate == gate and each.created_at <= at < each.expires_at and (each.ended_at is None or at <= each.ended_at)
        for each in files.overrides
    )


def _check_routes(files: Files, lived: Sequence[Moment]) -> Check:
    """Each revision follows from the one before it, and from the event that wrote it."""
    rollout, routes = files.rollout.rollout, files.routes
    differs: list[str] = []
    if [route.revision for route in routes] != sorted({route.revision for route in routes}):
        differs.append("the revisions do not rise")
    if any(route.task != rollout.task for route in routes):
        differs.append("some are another task's")
    wrote = {moment.event.revision: moment for moment in lived if moment.event.revision is not None}
    own = {route.revision: route for route in routes if route.rollout == rollout.id}
    differs += [
        f"revision {number}, which an event wrote, is not there" for number in sorted(wrote.keys() - own.keys())
    ]
    differs += [f"revision {number} was written by no event" for number in sorted(own.keys() - wrote.keys())]
    for before, route in zip([None, *routes], routes, strict=False):
        moment = wrote.get(route.revision)
        if moment is not None and route.rollout == rollout.id:
            event, entered = moment.event, moment.after
            action = entered.state if event.action in ("start", "advance") else event.action
            if action == "confirm":
                action = "engine"  # the route had followed its engine already
            said = (event.actor, event.reason, event.at, action)
            if said != (route.actor, route.reason, route.created_at, route.action):
                differs.append(f"revision {route.revision} tells another story than {moment.told}")
            if action in ("shadow", "canary"):
                step = entered.plan.steps[entered.step]
                shares = (step.canary or 0.0, step.shadow or 0.0)
                if (route.candidate_weight, route.shadow_share) != shares or route.candidate != rollout.candidate:
                    differs.append(f"revision {route.revision} gives the candidate another share than the plan")
            if action == "promote" and route.incumbent != rollout.candidate:
                differs.append(f"revision {route.revision} promotes another variant")
        if before is not None:
            allowed = {
                "promote": route.former == before.incumbent and route.candidate is None,
                "rollback": route.incumbent in (before.incumbent, before.former) and route.candidate is None,
                "engine": True,  # another engine under the same deployment, and so another variant
            }.get(route.action, route.incumbent == before.incumbent)
            if not allowed:
                differs.append(f"revision {route.revision} ({route.action}) does not follow from {before.revision}")
    first = f"{routes[0].revision} to {routes[-1].revision}" if routes else "none"
    return found("routes", differs, f"{len(routes)} revisions, {first}, each follows from the one before")

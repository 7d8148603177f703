"""What can be done to a rollout. Each is one transaction: the route revision, the state and the event, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from changeover.core.errors import GateError
from changeover.core.ids import new_id
from changeover.evals.queries import find_comparison
from changeover.rollouts.decide import ACTIVE, BEFORE_PROMOTION, Evidence, Hold, Plan, Rollout, State, Step
from changeover.rollouts.exchange import SETTLED, exchange_back, exchange_engines, is_settled
from changeover.rollouts.gate import leave_is_over
from changeover.rollouts.queries import (
    Approval,
    Event,
    Gate,
    Override,
    add_approval,
    add_event,
    add_override,
    add_rollout,
    approvals_of,
    find_rollout,
    latest_rollout,
    lock_rollout,
    move,
    note_comparison,
    note_override,
    put_hold,
    rollout_history,
)
from changeover.serving.queries import load_variants, want
from changeover.serving.variants import Variant
from changeover.tasks.declarations import TaskDeclaration
from changeover.tasks.queries import append_route, current_route, last_promotion
from changeover.tasks.routes import Action, Route

LONGEST_NAME = 80
"""Characters of a person's name that the history takes."""
NEXT_BEGAN = "the next rollout began"
"""Why a bake time ended before its time."""


@dataclass(frozen=True)
class By:
    """Who does something, why, and when."""

    actor: str
    reason: str
    now: datetime


def plan_of(declared: TaskDeclaration) -> Plan:
    """Freeze what a task declares, for one rollout."""
    guard, approval = declared.guard, declared.approval
    return Plan(
        steps=tuple(
            Step(canary=s.canary, shadow=s.shadow, requests=s.requests, hold_s=s.hold_s) for s in declared.steps
        ),
        tolerated_failures=guard.tolerated_failures,
        tolerated_violations=guard.tolerated_violations,
        tolerated_slow=guard.tolerated_slow,
        slowdown=guard.slowdown,
        tolerated_dislikes=guard.tolerated_dislikes,
        shadow_margin=declared.shadow.margin,
        alpha=guard.alpha,
        drift_requests=guard.drift_requests,
        bake_s=declared.bake_s,
        tier=declared.tier,
        approvals=approval.required,
        approvers=approval.by,
        approve_before=approval.before,
    )


def start(
    connection: Connection,
    candidate: Variant,
    plan: Plan,
    comparison: str | None,
    by: By,
    *,
    measured_against: str | None = None,
    trial: int | None = None,
) -> Rollout:
    """Begin a rollout with its first step.

    Args:
        connection: In a transaction.
        candidate: Who shall take over.
        plan: The steps.
        comparison: What allows it; None only where nobody measured.
        by: Who begins it.
        measured_against: The incumbent that the comparison was about; somebody may have switched since.
        trial: The trial that it comes from.

    Raises:
        GateError: Another rollout of the task is under way, the candidate is the incumbent already, or the incumbent
            is no longer the one that the comparison was about.
    """
    route = _free_route(connection, candidate, by)
    if measured_against not in (None, route.incumbent):
        raise GateError(f"The incumbent of `{candidate.task}` has changed since the comparison. Compare again.")
    rollout = _add(connection, route, candidate, plan, by, comparison=comparison, trial=trial)
    first = plan.steps[0] if plan.steps else None
    needs_approval = plan.approvals and first is not None and first.kind == "canary" and plan.approve_before == "canary"
    if first is None or needs_approval:
        # What may come next is decided where everything else is: the evaluation is over, and something is asked for.
        add_event(connection, _event(rollout, "start", by, {}, None))
        return rollout
    return enter(connection, rollout, 0, {}, by, action="start")


def propose(connection: Connection, candidate: Variant, plan: Plan, by: By, *, trial: int | None = None) -> Rollout:
    """Begin a rollout whose evaluation has still to be made. No request is touched.

    Raises:
        GateError: Another rollout of the task is under way, or the candidate is the incumbent already.
    """
    route = _free_route(connection, candidate, by)
    rollout = _add(connection, route, candidate, plan, by, comparison=None, trial=trial)
    add_event(connection, _event(rollout, "start", by, {}, None))
    return rollout


def recheck(connection: Connection, task: str, measured: str, plan: Plan, by: By) -> Rollout:
    """Begin a rollout about who answers already, because its engine is not the one any more that was measured.

    It is held: on `resume` it is measured against the answers that are kept of the former bundle. There is nobody to go
    back to step by step, so that it has no steps; a pass confirms the route.

    Args:
        connection: In a transaction.
        task: Whose route has followed the engine.
        measured: Id of the variant that answered before.
        plan: Of the task; its steps are left out.
        by: Who noticed, and what.

    Raises:
        GateError: Another rollout of the task is under way.
    """
    route = _route(connection, task)
    _end_latest(connection, task, by)
    against = replace(route, incumbent=measured)
    candidate = load_variants(connection, [route.incumbent])[route.incumbent]
    rollout = _add(connection, against, candidate, replace(plan, steps=()), by, comparison=None, trial=None)
    add_event(connection, _event(rollout, "start", by, {}, None))
    return put_on_hold(connection, rollout, "held", by)


def is_recheck(rollout: Rollout, route: Route) -> bool:
    """Whether a rollout that is under way is about who answers already."""
    return rollout.state in BEFORE_PROMOTION and rollout.candidate == route.incumbent


def _free_route(connection: Connection, candidate: Variant, by: By) -> Route:
    """The task's route, once nothing is in the way of another rollout."""
    task = candidate.task
    route = _route(connection, task)
    latest = latest_rollout(connection, task)
    exchanging = latest is not None and latest.state == "baking" and latest.plan.exchange
    if latest is not None and exchanging and not is_settled(rollout_history(connection, latest.id)):
        raise GateError(
            f"Rollout {latest.id} of `{task}` is exchanging engines. "
            f"Wait until that is over, or take it back: `changeover rollback {task}`."
        )
    _end_latest(connection, task, by)
    if route.incumbent == candidate.id:
        raise GateError(f"`{candidate.deployment}` already answers `{task}` with this prompt and these parameters.")
    return route


def _add(
    connection: Connection,
    route: Route,
    candidate: Variant,
    plan: Plan,
    by: By,
    *,
    comparison: str | None,
    trial: int | None,
) -> Rollout:
    return add_rollout(
        connection,
        Rollout(
            id=0,
            task=route.task,
            incumbent=route.incumbent,
            candidate=candidate.id,
            comparison=comparison,
            plan=plan,
            state="evaluation",
            step=0,
            step_started_at=by.now,
            trial=trial,
            actor=by.actor,
            reason=by.reason,
            created_at=by.now,
        ),
    )


def _end_latest(connection: Connection, task: str, by: By) -> None:
    """Make room for another rollout: one before its promotion is in the way, one that still bakes gives way."""
    latest = latest_rollout(connection, task)
    if latest is None or latest.state not in ACTIVE:
        return
    if latest.state in BEFORE_PROMOTION:
        raise GateError(
            f"Rollout {latest.id} of `{task}` is under way. "
            f"End it with `changeover abort {task}`, or wait: `changeover status {task}`."
        )
    # Its former incumbent gives way to the present one.
    move(connection, latest, state="done", step=latest.step, now=by.now)
    add_event(connection, _event(latest, "finish", replace(by, reason=NEXT_BEGAN), {}, None))


def enter(
    connection: Connection, rollout: Rollout, step: int, evidence: Mapping[str, Any], by: By, *, action: str = "advance"
) -> Rollout:
    """Go on to a step: copies of requests, or a share of them, go to the candidate from this route revision on."""
    rollout = _still_going(connection, rollout, *BEFORE_PROMOTION)
    route = _route(connection, rollout.task)
    if route.incumbent != rollout.incumbent:
        raise GateError(f"The incumbent of `{rollout.task}` has changed since rollout {rollout.id} began.")
    entered = rollout.plan.steps[step]
    revised = _append(
        connection,
        route,
        rollout,
        entered.kind,
        by,
        candidate=rollout.candidate,
        candidate_weight=entered.canary or 0.0,
        shadow_share=entered.shadow or 0.0,
        # Fixed over the steps of one rollout, so that a higher weight only moves callers towards the candidate.
        salt=route.salt if route.rollout == rollout.id and route.candidate is not None else new_id("salt"),
    )
    move(connection, rollout, state=entered.kind, step=step, now=by.now)
    add_event(connection, _event(rollout, action, by, {**evidence, "entered": step}, revised.revision))
    return replace(rollout, state=entered.kind, step=step, step_started_at=by.now, hold=None)


def advance(connection: Connection, rollout: Rollout, step: int, evidence: Evidence, by: By) -> Rollout:
    """Go on to a later step, on evidence."""
    return enter(connection, rollout, step, document_of(evidence), by)


def evaluated(connection: Connection, rollout: Rollout, comparison: str, verdict: str, by: By) -> None:
    """Write down what the evaluation of a proposed rollout found; what follows from it is decided elsewhere."""
    rollout = _still(connection, rollout, "evaluation")
    note_comparison(connection, rollout, comparison)
    add_event(connection, _event(rollout, "evaluate", by, {"comparison": comparison, "verdict": verdict}, None))


def refuse(connection: Connection, rollout: Rollout, evidence: Evidence, by: By) -> None:
    """End a rollout whose evaluation failed. No request was touched: what was rechecked goes on answering."""
    rollout = _still_going(connection, rollout, "evaluation")
    if is_recheck(rollout, _route(connection, rollout.task)):
        said = (
            f"{by.reason}; it answers on: switch `{rollout.task}` to another, or `changeover rollback {rollout.task}`"
        )
        by = replace(by, reason=said)
    move(connection, rollout, state="refused", step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, "refuse", by, document_of(evidence), None))


def put_on_hold(connection: Connection, rollout: Rollout, kind: Literal["paused", "held"], by: By) -> Rollout:
    """Have a rollout stay where it is until somebody says `resume`. Its guards stay on.

    Raises:
        GateError: It waits already, or is past its promotion.
    """
    rollout = _still(connection, rollout, *BEFORE_PROMOTION)
    if rollout.hold is not None:
        raise GateError(
            f"Rollout {rollout.id} of `{rollout.task}` is {rollout.hold.kind} already: {rollout.hold.reason}."
        )
    hold = Hold(kind=kind, actor=by.actor, reason=by.reason, since=by.now)
    put_hold(connection, rollout, hold)
    add_event(connection, _event(rollout, "pause" if kind == "paused" else "hold", by, {}, None))
    return replace(rollout, hold=hold)


def resume(connection: Connection, rollout: Rollout, by: By) -> Rollout:
    """Let a rollout go on. One whose evaluation has not passed is evaluated anew.

    Raises:
        GateError: It does not wait for anybody.
    """
    rollout = _still(connection, rollout, *BEFORE_PROMOTION)
    if rollout.hold is None:
        raise GateError(f"Rollout {rollout.id} of `{rollout.task}` is not on hold: it goes on by itself.")
    put_hold(connection, rollout, None)
    known = None if rollout.state != "evaluation" else rollout.comparison
    if known is not None and find_comparison(connection, known).verdict != "pass":
        note_comparison(connection, rollout, None)
    add_event(connection, _event(rollout, "resume", by, {}, None))
    return replace(rollout, hold=None)


def approve(connection: Connection, rollout: Rollout, by: By) -> None:
    """Agree to a rollout's next stages.

    Raises:
        GateError: Who agrees started it, is not among those who may, or has agreed already.
    """
    rollout = _still(connection, rollout, *BEFORE_PROMOTION)
    plan = rollout.plan
    if by.actor == rollout.actor:
        raise GateError(f"Rollout {rollout.id} was started by `{by.actor}`: somebody else has to approve it.")
    if plan.approvers and by.actor not in plan.approvers:
        raise GateError(
            f"`{by.actor}` is not among those who may approve `{rollout.task}`: {', '.join(plan.approvers)}."
        )
    if by.actor in (each.actor for each in approvals_of(connection, rollout.id)):
        raise GateError(f"`{by.actor}` has approved rollout {rollout.id} already.")
    add_approval(connection, Approval(rollout=rollout.id, actor=by.actor, reason=by.reason, at=by.now))
    add_event(connection, _event(rollout, "approve", by, {}, None))


def override(
    connection: Connection, rollout: Rollout, gate: Gate, approver: str, expires_at: datetime, by: By
) -> Override:
    """Let a rollout pass a gate without what the gate asks for.

    One that is held for want of it goes on; one that somebody paused, or that lacks something else, stays on hold.

    Raises:
        GateError: No reason or no name, who approves it started the rollout, or the end does not lie ahead.
    """
    rollout = _still(connection, rollout, *BEFORE_PROMOTION)
    plan = rollout.plan
    if not by.reason.strip():
        raise GateError("An override needs a reason: `--reason`.")
    if not 0 < len(approver.strip()) <= LONGEST_NAME:
        raise GateError(
            f"An override needs somebody who answers for it, by a name of at most {LONGEST_NAME} characters."
        )
    if expires_at <= by.now:
        raise GateError(f"An override must end later than now; `{expires_at:%Y-%m-%d %H:%M}` is over.")
    if plan.tier == "high" and approver == rollout.actor:
        raise GateError(
            f"`{rollout.task}` is of tier high: somebody other than `{approver}` has to approve an override."
        )
    if plan.approvers and approver not in plan.approvers:
        raise GateError(
            f"`{approver}` is not among those who may approve `{rollout.task}`: {', '.join(plan.approvers)}."
        )
    made = add_override(
        connection,
        Override(
            id=0,
            task=rollout.task,
            rollout=rollout.id,
            gate=gate,
            approver=approver,
            actor=by.actor,
            reason=by.reason,
            created_at=by.now,
            expires_at=expires_at,
        ),
    )
    note_override(connection, rollout, made.id)
    waits = gate == "approval" and (rollout.state == "evaluation" or leave_is_over(connection, rollout, by.now))
    if rollout.hold is not None and rollout.hold.kind == "held" and not waits:
        put_hold(connection, rollout, None)
    said = {"gate": gate, "approver": approver, "expires_at": expires_at.isoformat()}
    add_event(connection, _event(rollout, "override", by, said, None))
    return made


def promote(connection: Connection, rollout: Rollout, evidence: Evidence | None, by: By) -> Route:
    """Make the candidate the incumbent; the incumbent stays ready as the former one, unless engines are exchanged.

    What was rechecked answers already: the next revision says on what evidence, and nothing has to bake.

    Raises:
        GateError: It is over or was put on hold, the incumbent has changed, or engines cannot be exchanged: another task
            needs the incumbent's.
    """
    rollout = _still_going(connection, rollout, *BEFORE_PROMOTION)
    route = _route(connection, rollout.task)
    said = {} if evidence is None else document_of(evidence)
    if is_recheck(rollout, route):
        confirmed = _append(connection, route, rollout, "engine", by)
        move(connection, rollout, state="done", step=rollout.step, now=by.now)
        add_event(connection, _event(rollout, "confirm", by, said, confirmed.revision))
        return confirmed
    if route.incumbent != rollout.incumbent:
        raise GateError(f"The incumbent of `{rollout.task}` has changed since rollout {rollout.id} began.")
    revised = _append(
        connection,
        route,
        rollout,
        "promote",
        by,
        incumbent=rollout.candidate,
        former=rollout.incumbent,
        candidate=None,
        candidate_weight=0.0,
        shadow_share=0.0,
    )
    if rollout.plan.exchange:
        exchange_engines(connection, rollout, by.now)
    move(connection, rollout, state="baking", step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, "promote", by, said, revised.revision))
    return revised


def settle(connection: Connection, rollout: Rollout, evidence: Evidence, by: By) -> None:
    """Write down that engines have been exchanged. The bake time begins."""
    rollout = _still(connection, rollout, "baking")
    move(connection, rollout, state="baking", step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, SETTLED, by, document_of(evidence), None))


def finish(connection: Connection, rollout: Rollout, evidence: Evidence, by: By) -> None:
    """End the bake time. The former incumbent can still be brought back by `roll_back`."""
    rollout = _still(connection, rollout, "baking")
    move(connection, rollout, state="done", step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, "finish", by, document_of(evidence), None))


def abort(connection: Connection, rollout: Rollout, by: By, evidence: Evidence | None = None) -> Route:
    """Stop before promotion: the incumbent answers everything."""
    return _take_out(connection, rollout, "abort", "aborted", by, evidence)


def roll_back(
    connection: Connection, task: str, by: By, evidence: Evidence | None = None, *, only: Rollout | None = None
) -> Route:
    """Bring back who answered before the rollout, whether its candidate is in the canary or promoted.

    Args:
        connection: In a transaction.
        task: Its name.
        by: Who does it.
        evidence: What it was decided from.
        only: The rollout that the evidence is about; None: whichever it is now.

    Raises:
        GateError: There is nobody to bring back, or `only` has moved on.
    """
    if only is not None:
        _still(connection, only, *ACTIVE)
    route = _route(connection, task)
    rollout = latest_rollout(connection, task)
    if rollout is not None and rollout.state in BEFORE_PROMOTION:
        taken_out = _take_out(connection, rollout, "rollback", "rolled_back", by, evidence)
        if not is_recheck(rollout, route) or route.former is None:
            return taken_out
        # Who is rechecked answers: to take it out is to bring back who answered before.
    # A later attempt may have been given up since: what is undone is the promotion that made the present incumbent.
    promotion = last_promotion(connection, task)
    undone = None if promotion is None or promotion.rollout is None else find_rollout(connection, promotion.rollout)
    if route.former is None or undone is None:
        raise GateError(
            f"`{task}` has no former incumbent to bring back. `changeover history {task}` shows its routes."
        )
    revised = _append(
        connection,
        route,
        undone,
        "rollback",
        by,
        incumbent=route.former,
        former=None,
        candidate=None,
        candidate_weight=0.0,
    )
    if undone.plan.exchange:
        exchange_back(connection, undone, by.now)
    else:  # after the bake time it may have been stopped
        want(connection, load_variants(connection, [route.former])[route.former].deployment, "running", by.now)
    move(connection, undone, state="rolled_back", step=undone.step, now=by.now)
    add_event(
        connection, _event(undone, "rollback", by, {} if evidence is None else document_of(evidence), revised.revision)
    )
    return revised


def _take_out(
    connection: Connection, rollout: Rollout, action: Action, state: State, by: By, evidence: Evidence | None
) -> Route:
    rollout = _still(connection, rollout, *BEFORE_PROMOTION)
    route = _route(connection, rollout.task)
    revision = None
    if route.candidate == rollout.candidate:
        route = _append(connection, route, rollout, action, by, candidate=None, candidate_weight=0.0, shadow_share=0.0)
        revision = route.revision
    move(connection, rollout, state=state, step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, action, by, {} if evidence is None else document_of(evidence), revision))
    return route


def document_of(evidence: Evidence) -> dict[str, Any]:
    """Evidence as it is kept with a decision."""
    return asdict(evidence)


def _still(connection: Connection, rollout: Rollout, *states: State) -> Rollout:
    """The rollout as it is now, locked, if it is still where the decision was made."""
    found = lock_rollout(connection, rollout.id)
    if found is None or found.state not in states or (found.state, found.step) != (rollout.state, rollout.step):
        now = "gone" if found is None else f"{found.state}, step {found.step + 1}"
        what = "is over" if found is not None and found.state not in ACTIVE else "has moved on"
        raise GateError(f"Rollout {rollout.id} {what} ({now}); nothing was changed.")
    return found


def _still_going(connection: Connection, rollout: Rollout, *states: State) -> Rollout:
    """As `_still`; a rollout that somebody put on hold since the decision was made stays where it is."""
    found = _still(connection, rollout, *states)
    if found.hold is not None and rollout.hold is None:
        raise GateError(f"Rollout {rollout.id} was {found.hold.kind} meanwhile: {found.hold.reason}.")
    return found


def _route(connection: Connection, task: str) -> Route:
    route = current_route(connection, task)
    if route is None:
        raise GateError(f"`{task}` has no route yet. Start the project once with `changeover up`.")
    return route


def _append(connection: Connection, route: Route, rollout: Rollout, action: Action, by: By, **changes: Any) -> Route:
    return append_route(
        connection,
        replace(
            route,
            **changes,
            action=action,
            actor=by.actor,
            reason=by.reason,
            rollout=rollout.id,
            comparison=rollout.comparison,
            created_at=by.now,
        ),
    )


def _event(rollout: Rollout, action: str, by: By, evidence: Mapping[str, Any], revision: int | None) -> Event:
    return Event(
        rollout=rollout.id,
        at=by.now,
        actor=by.actor,
        action=action,
        reason=by.reason,
        evidence=evidence,
        revision=revision,
    )

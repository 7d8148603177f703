"""What can be done to a rollout. Each is one transaction: the route revision, the state and the event, or nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from changeover.core.errors import GateError
from changeover.core.ids import new_id
from changeover.rollouts.decide import ACTIVE, Evidence, Plan, Rollout, State, Step
from changeover.rollouts.queries import (
    Event,
    add_event,
    add_rollout,
    find_rollout,
    latest_rollout,
    lock_rollout,
    move,
)
from changeover.serving.variants import Variant
from changeover.tasks.declarations import TaskDeclaration
from changeover.tasks.queries import append_route, current_route, last_promotion
from changeover.tasks.routes import Action, Route


@dataclass(frozen=True, kw_only=True)
class By:
    """Who does something, why, and when."""

    actor: str
    reason: str
    now: datetime


def plan_of(declared: TaskDeclaration) -> Plan:
    """Freeze what a task declares, for one rollout."""
    return Plan(
        steps=tuple(Step(canary=s.canary, requests=s.requests, hold_s=s.hold_s) for s in declared.steps),
        tolerated_failures=declared.guard.tolerated_failures,
        alpha=declared.guard.alpha,
        bake_s=declared.bake_s,
    )


def start(
    connection: Connection,
    candidate: Variant,
    plan: Plan,
    comparison: str | None,
    by: By,
    *,
    measured_against: str | None = None,
) -> Rollout:
    """Begin a rollout with its first canary step.

    Args:
        connection: In a transaction.
        candidate: Who shall take over.
        plan: The steps.
        comparison: What allows it; None only where nobody measured.
        by: Who begins it.
        measured_against: The incumbent that the comparison was about; somebody may have switched since.

    Raises:
        GateError: Another rollout of the task is under way, the candidate is the incumbent already, or the incumbent
            is no longer the one that the comparison was about.
    """
    task = candidate.task
    route = _route(connection, task)
    _end_latest(connection, task, by)
    if measured_against not in (None, route.incumbent):
        raise GateError(f"The incumbent of `{task}` has changed since the comparison. Compare again.")
    if route.incumbent == candidate.id:
        raise GateError(f"`{candidate.deployment}` already answers `{task}` with this prompt and these parameters.")
    rollout = add_rollout(
        connection,
        Rollout(
            id=0,
            task=task,
            incumbent=route.incumbent,
            candidate=candidate.id,
            comparison=comparison,
            plan=plan,
            state="canary",
            step=0,
            step_started_at=by.now,
            actor=by.actor,
            reason=by.reason,
            created_at=by.now,
        ),
    )
    revised = _append(
        connection,
        route,
        rollout,
        "canary",
        by,
        candidate=candidate.id,
        candidate_weight=plan.steps[0].canary,
        salt=new_id("salt"),
    )
    add_event(connection, _event(rollout, "start", by, {"canary": plan.steps[0].canary}, revised.revision))
    return rollout


def _end_latest(connection: Connection, task: str, by: By) -> None:
    """Make room for another rollout: one in its canary is in the way, one that still bakes gives way."""
    latest = latest_rollout(connection, task)
    if latest is None or latest.state not in ACTIVE:
        return
    if latest.state == "canary":
        raise GateError(
            f"Rollout {latest.id} of `{task}` is under way. "
            f"End it with `changeover abort {task}`, or wait: `changeover status {task}`."
        )
    # Its former incumbent gives way to the present one.
    move(connection, latest, state="done", step=latest.step, now=by.now)
    add_event(connection, _event(latest, "finish", replace(by, reason="the next rollout began"), {}, None))


def advance(connection: Connection, rollout: Rollout, step: int, evidence: Evidence, by: By) -> Route:
    """Give the candidate the share of a later step."""
    rollout = _still(connection, rollout, "canary")
    weight = rollout.plan.steps[step].canary
    revised = _append(connection, _route(connection, rollout.task), rollout, "canary", by, candidate_weight=weight)
    move(connection, rollout, state="canary", step=step, now=by.now)
    add_event(connection, _event(rollout, "advance", by, asdict(evidence), revised.revision))
    return revised


def promote(connection: Connection, rollout: Rollout, evidence: Evidence | None, by: By) -> Route:
    """Make the candidate the incumbent; the incumbent stays ready as the former one."""
    rollout = _still(connection, rollout, "canary")
    revised = _append(
        connection,
        _route(connection, rollout.task),
        rollout,
        "promote",
        by,
        incumbent=rollout.candidate,
        former=rollout.incumbent,
        candidate=None,
        candidate_weight=0.0,
    )
    move(connection, rollout, state="baking", step=rollout.step, now=by.now)
    add_event(
        connection, _event(rollout, "promote", by, {} if evidence is None else asdict(evidence), revised.revision)
    )
    return revised


def finish(connection: Connection, rollout: Rollout, evidence: Evidence, by: By) -> None:
    """End the bake time. The former incumbent can still be brought back by `roll_back`."""
    rollout = _still(connection, rollout, "baking")
    move(connection, rollout, state="done", step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, "finish", by, asdict(evidence), None))


def abort(connection: Connection, rollout: Rollout, by: By, evidence: Evidence | None = None) -> Route:
    """Stop before promotion: the incumbent answers everything."""
    return _take_out(connection, rollout, "abort", "aborted", by, evidence)


def roll_back(connection: Connection, task: str, by: By, evidence: Evidence | None = None) -> Route:
    """Bring back who answered before the rollout, whether its candidate is in the canary or promoted.

    Raises:
        GateError: There is nobody to bring back.
    """
    route = _route(connection, task)
    rollout = latest_rollout(connection, task)
    if rollout is not None and rollout.state == "canary":
        return _take_out(connection, rollout, "rollback", "rolled_back", by, evidence)
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
    move(connection, undone, state="rolled_back", step=undone.step, now=by.now)
    add_event(
        connection, _event(undone, "rollback", by, {} if evidence is None else asdict(evidence), revised.revision)
    )
    return revised


def _take_out(
    connection: Connection, rollout: Rollout, action: Action, state: State, by: By, evidence: Evidence | None
) -> Route:
    rollout = _still(connection, rollout, "canary")
    revised = _append(
        connection, _route(connection, rollout.task), rollout, action, by, candidate=None, candidate_weight=0.0
    )
    move(connection, rollout, state=state, step=rollout.step, now=by.now)
    add_event(connection, _event(rollout, action, by, {} if evidence is None else asdict(evidence), revised.revision))
    return revised


def _still(connection: Connection, rollout: Rollout, state: State) -> Rollout:
    """The rollout as it is now, locked, if it is still where the decision was made."""
    found = lock_rollout(connection, rollout.id)
    if found is None or found.state != state or found.step != rollout.step:
        now = "gone" if found is None else f"{found.state}, step {found.step + 1}"
        what = "is over" if found is not None and found.state not in ACTIVE else "has moved on"
        raise GateError(f"Rollout {rollout.id} {what} ({now}); nothing was changed.")
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


def _event(rollout: Rollout, action: str, by: By, evidence: dict[str, Any], revision: int | None) -> Event:
    return Event(
        rollout=rollout.id,
        at=by.now,
        actor=by.actor,
        action=action,
        reason=by.reason,
        evidence=evidence,
        revision=revision,
    )

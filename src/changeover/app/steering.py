"""Steering a rollout by hand: what commands and the admin API have in common. Each is one transaction, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from changeover.core.errors import GateError
from changeover.evals.queries import find_comparison
from changeover.rollouts import actions
from changeover.rollouts.actions import By
from changeover.rollouts.decide import ACTIVE, BEFORE_PROMOTION, Plan, Rollout, missing_approvals
from changeover.rollouts.exchange import was_exchanged
from changeover.rollouts.gate import check_leave
from changeover.rollouts.queries import Gate, approvals_of, find_rollout, latest_rollout, open_overrides
from changeover.rollouts.terms import Terms, no_terms
from changeover.serving.queries import ANSWERING, find_deployment, keep_variant, load_variants, want
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.queries import current_route
from changeover.tasks.routes import Route


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What whoever acts looked at, on a page that may be old: nothing is done to anything else."""

    rollout: int | None = None
    """None: whichever is the task's newest."""
    revision: int | None = None
    """Of the task's route; None: whichever answers now."""


NEWEST = Seen()
"""Whatever there is now: that is what a command means."""


def propose(store: Store, candidate: Variant, plan: Plan, by: By) -> Rollout:
    """Begin a rollout whose evaluation has still to be made. No request is touched.

    Raises:
        GateError: Another rollout of the task is under way, or the candidate is the incumbent already.
    """
    with store.write() as connection:
        return actions.propose(connection, keep_variant(connection, candidate, by.now), plan, by)


def pause(store: Store, task: str, by: By, seen: Seen = NEWEST) -> Rollout:
    """Have the task's rollout stay where it is until `resume`. Its guards stay on.

    Raises:
        GateError: There is none under way, or it waits already.
    """
    with store.write() as connection:
        return actions.put_on_hold(connection, rollout_under_way(connection, task, seen), "paused", by)


def resume(store: Store, task: str, by: By, terms: Terms = no_terms, seen: Seen = NEWEST) -> Rollout:
    """Let a rollout that is paused or held go on.

    Raises:
        GateError: There is none under way, it goes on by itself, its leave to have no evaluation is over, or terms keep
            its candidate from the task.
    """
    with store.write() as connection:
        rollout = rollout_under_way(connection, task, seen)
        check_leave(connection, rollout, by.now)
        _check_terms(connection, rollout, terms)
        return actions.resume(connection, rollout, by)


def approve(store: Store, task: str, by: By, seen: Seen = NEWEST) -> Rollout:
    """Agree to the next stages of the task's rollout.

    Raises:
        GateError: There is none under way, or who agrees may not, or has already.
    """
    with store.write() as connection:
        rollout = rollout_under_way(connection, task, seen)
        actions.approve(connection, rollout, by)
        return rollout


def override(
    store: Store, task: str, gate: Gate, approver: str, expires_at: datetime, by: By, seen: Seen = NEWEST
) -> Rollout:
    """Let the task's rollout pass a gate without what the gate asks for; it stays in sight until it ends.

    Raises:
        GateError: There is none under way, there is no reason, the approver may not, or the end does not lie ahead.
    """
    with store.write() as connection:
        rollout = rollout_under_way(connection, task, seen)
        actions.override(connection, rollout, gate, approver, expires_at, by)
        found = find_rollout(connection, rollout.id)
        assert found is not None, "it is locked"
        return found


def promote(store: Store, task: str, by: By, terms: Terms = no_terms, seen: Seen = NEWEST) -> Route:
    """Make the candidate the incumbent now, without the remaining steps. Its gates are not left out.

    Raises:
        GateError: There is no rollout under way, its evaluation has not passed, approvals are missing, or terms keep its
            candidate from the task. No override lets terms pass.
    """
    with store.write() as connection:
        rollout = rollout_under_way(connection, task, seen)
        _check_gates(connection, rollout, by)
        _check_terms(connection, rollout, terms)
        return actions.promote(connection, rollout, None, by)


def abort(store: Store, task: str, by: By, seen: Seen = NEWEST) -> Route:
    """Stop the task's rollout before its promotion: the incumbent answers everything.

    Raises:
        GateError: There is none under way.
    """
    with store.write() as connection:
        return actions.abort(connection, rollout_under_way(connection, task, seen), by)


def rollback(store: Store, task: str, by: By, seen: Seen = NEWEST) -> Route:
    """Bring back who answered before the last switch, or take out the candidate of a rollout under way.

    Raises:
        GateError: There is nobody to bring back, or something else answers by now than was looked at.
    """
    with store.write() as connection:
        _check_seen(connection, task, seen)
        return actions.roll_back(connection, task, by)


def former_to_start(connection: Connection, task: str) -> str | None:
    """The deployment that a rollback would bring back and that may have been stopped since.

    None before a promotion, when the incumbent answers already, and where engines were exchanged: there the rollback itself
    starts it, in place of the present one.
    """
    route, rollout = current_route(connection, task), latest_rollout(connection, task)
    if route is None or route.former is None or was_exchanged(connection, task):
        return None
    if rollout is not None and rollout.state in BEFORE_PROMOTION and not actions.is_recheck(rollout, route):
        return None
    return load_variants(connection, [route.former])[route.former].deployment


def start_former(store: Store, task: str, by: By, seen: Seen = NEWEST) -> None:
    """Have the engine up that a rollback would bring back; until it can answer the present one goes on.

    Raises:
        GateError: It cannot answer yet; it is asked for. Or something else answers by now than was looked at.
    """
    with store.write() as connection:
        _check_seen(connection, task, seen)
        name = former_to_start(connection, task)
        row = None if name is None else find_deployment(connection, name)
        if row is not None and row.state not in ANSWERING:
            want(connection, row.name, "running", by.now)
    if row is not None and row.state not in ANSWERING:
        raise GateError(
            f"`{row.name}` was stopped and is being started ({row.detail or row.state}). "
            f"Ask again once it can answer; nothing was changed so far."
        )


def rollout_under_way(connection: Connection, task: str, seen: Seen = NEWEST) -> Rollout:
    """The task's rollout that has not been promoted yet.

    Raises:
        GateError: There is none, or another than was looked at.
    """
    rollout = latest_rollout(connection, task)
    _check_newest(rollout, task, seen)
    if rollout is not None and rollout.state == "baking":
        raise GateError(f"Rollout {rollout.id} of `{task}` was promoted. `changeover rollback {task}` takes it back.")
    if rollout is None or rollout.state not in BEFORE_PROMOTION:
        raise GateError(f"`{task}` has no rollout under way. `changeover history {task}` shows what happened.")
    return rollout


def _check_newest(newest: Rollout | None, task: str, seen: Seen) -> None:
    """Refuse to act on a rollout in place of the one that was looked at.

    Raises:
        GateError: Another one has begun since.
    """
    if seen.rollout is not None and newest is not None and newest.id != seen.rollout:
        raise GateError(f"Rollout {newest.id} of `{task}` began after this one. Nothing was done to either.")


def _check_seen(connection: Connection, task: str, seen: Seen) -> None:
    """Refuse to take back another switch than the one that was looked at.

    Raises:
        GateError: That has ended, another one has begun since, or the task's route was changed.
    """
    newest, route = latest_rollout(connection, task), current_route(connection, task)
    _check_newest(newest, task, seen)
    if seen.rollout is not None and newest is not None and newest.state not in ACTIVE:
        raise GateError(f"Rollout {newest.id} of `{task}` has ended meanwhile ({newest.state}). Nothing was done.")
    if seen.revision is not None and route is not None and route.revision != seen.revision:
        raise GateError(
            f"`{task}` was at revision {seen.revision} when the page was made, and is at revision {route.revision} by "
            "now. Nothing was done: look at what happened, then decide again."
        )


def _check_terms(connection: Connection, rollout: Rollout, terms: Terms) -> None:
    against = terms(connection, rollout.task, rollout.candidate)
    if against is not None:
        raise GateError(f"Rollout {rollout.id} of `{rollout.task}` stays where it is. {against}")


def _check_gates(connection: Connection, rollout: Rollout, by: By) -> None:
    """Refuse what a gate does not let pass: who leaves out steps does not leave out evidence and agreement."""
    passed = {
        each.gate for each in open_overrides(connection) if each.rollout == rollout.id and each.expires_at > by.now
    }
    verdict = None if rollout.comparison is None else find_comparison(connection, rollout.comparison).verdict
    # Beyond the evaluation it has passed, or somebody let it pass.
    if rollout.state == "evaluation" and verdict != "pass" and "evaluation" not in passed:
        said = "has no evaluation yet" if verdict is None else f"has an evaluation that is `{verdict}`"
        raise GateError(
            f"Rollout {rollout.id} of `{rollout.task}` {said}. Wait for one that passes, or say why not: "
            f"`changeover override {rollout.task} --help`."
        )
    check_leave(connection, rollout, by.now)
    missing = missing_approvals(rollout, [each.actor for each in approvals_of(connection, rollout.id)])
    if missing and "approval" not in passed:
        who = f" of {', '.join(rollout.plan.approvers)}" if rollout.plan.approvers else ""
        raise GateError(
            f"Rollout {rollout.id} of `{rollout.task}` needs {missing} approval{'s' * (missing > 1)}{who} "
            f"before the promotion: `changeover approve {rollout.task}`."
        )

"""Exchanging engines where memory holds only one: what a promotion and a rollback ask serving for, and how it stands.

All of it is rows: which engine shall run, and the event that says that it could answer. Whoever dies in between finds them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from changeover.core.clock import Clock
from changeover.core.errors import GateError
from changeover.rollouts.decide import Exchanging, Plan, Rollout
from changeover.rollouts.queries import Event, find_rollout, rollout_history
from changeover.serving.queries import ANSWERING, exchange, find_deployment, load_variants, want
from changeover.tasks.applied import removed_tasks
from changeover.tasks.queries import current_routes, last_promotion

log = logging.getLogger(__name__)

SETTLED = "exchanged"
"""Action of the event which says that the candidate's engine could answer."""
LONGEST_REQUEST = timedelta(hours=1)
"""No task lets a request take longer."""
BROKEN = ("restarting", "failed")
"""What a start that did not succeed leaves behind. It is not tried again: the former engine is known to work."""


def exchange_plan(plan: Plan, within_s: float) -> Plan:
    """The plan of a rollout that exchanges engines: nothing can be copied to, or tried on, an engine that does not run.

    Args:
        plan: As the task declares it.
        within_s: From the promotion until the candidate's engine can answer, at the longest.
    """
    return replace(plan, steps=(), exchange=True, exchange_s=within_s)


def exchange_engines(connection: Connection, rollout: Rollout, now: datetime) -> None:
    """Ask for the candidate's engine in place of the incumbent's.

    Raises:
        GateError: Another task is answered by the incumbent's engine.
    """
    old, new = _deployments(connection, rollout)
    others = tasks_on(connection, old, beside=rollout.task)
    if others:
        raise GateError(
            f"`{old}` answers {', '.join(f'`{name}`' for name in others)} too, and memory does not hold `{new}` beside it. "
            f"Switch {'that task' if len(others) == 1 else 'those tasks'} to another deployment first."
        )
    exchange(connection, stop=old, start=new, now=now)


def exchange_back(connection: Connection, rollout: Rollout, now: datetime) -> None:
    """Ask for the former engine in place of the candidate's. Goes back in any case, as every rollback does."""
    old, new = _deployments(connection, rollout)
    others = tasks_on(connection, new, beside=rollout.task)
    if others:
        log.warning("%s is brought back while %s goes on for %s: memory may be short", old, new, ", ".join(others))
        want(connection, old, "running", now)
    else:
        exchange(connection, stop=new, start=old, now=now)


def tasks_on(connection: Connection, deployment: str, *, beside: str) -> Sequence[str]:
    """Other tasks that may have to be answered by a deployment: as incumbent or candidate."""
    gone = {beside, *removed_tasks(connection)}
    routes = {task: route for task, route in current_routes(connection).items() if task not in gone}
    variants = load_variants(connection, {id for route in routes.values() for id in route.variants()})
    return sorted(
        task
        for task, route in routes.items()
        if deployment in [variants[id].deployment for id in (route.incumbent, route.candidate) if id is not None]
    )


def was_exchanged(connection: Connection, task: str) -> bool:
    """Whether the promotion that a rollback of a task would undo exchanged engines."""
    promotion = last_promotion(connection, task)
    undone = None if promotion is None or promotion.rollout is None else find_rollout(connection, promotion.rollout)
    return undone is not None and undone.plan.exchange


def is_settled(events: Sequence[Event]) -> bool:
    """Whether the candidate's engine could answer since the promotion."""
    return any(event.action == SETTLED for event in events)


def has_waited(rollout: Rollout, started_at: datetime) -> bool:
    """Whether a request waited while the engines of a rollout were exchanged.

    Those are no fault of the engine that answers them at last, however long that took.
    """
    if not rollout.plan.exchange or rollout.state != "baking":
        return False
    # None has waited for longer: what seems to have was asked by a clock that has been set back since.
    longest = timedelta(seconds=rollout.plan.exchange_s) + LONGEST_REQUEST
    return timedelta(0) < rollout.step_started_at - started_at <= longest


class Exchanges:
    """Exchanges that are under way, as one controller sees them."""

    def __init__(self, is_ready: Callable[[str], bool], clock: Clock) -> None:
        self._is_ready = is_ready
        self._clock = clock
        self._since: dict[int, float] = {}
        """When each was first seen, monotonic: time in which no controller ran was no chance for the engine."""

    def look(self, connection: Connection, rollout: Rollout) -> Exchanging | None:
        """How the exchange of a rollout stands; None where there is none, or nothing is left to be decided."""
        if not rollout.plan.exchange or rollout.state != "baking":
            self._since.pop(rollout.id, None)
            return None
        _, name = _deployments(connection, rollout)
        row = find_deployment(connection, name)
        if is_settled(rollout_history(connection, rollout.id)):
            self._since.pop(rollout.id, None)
            # With nobody beside it that could step in, an engine that is given up leaves its task without an answer.
            return Exchanging(state="failed", seen=f"`{name}`: {row.detail}") if row.state == "failed" else None
        now = self._clock.monotonic()
        waited_s = now - self._since.setdefault(rollout.id, now)
        if self._is_ready(name) and row.state in ANSWERING:  # then the row says how it went
            return Exchanging(state="ready", seen=f"`{name}` can answer: {row.detail}".removesuffix(": "))
        if row.state in BROKEN:
            return Exchanging(state="failed", seen=f"`{name}` did not become ready: {row.detail}")
        if waited_s >= rollout.plan.exchange_s:
            return Exchanging(
                state="failed", seen=f"`{name}` was not ready within {rollout.plan.exchange_s:.0f} s: {row.detail}"
            )
        return Exchanging(state="under way", seen=f"engines are being exchanged: `{name}` {row.detail or row.state}")


def _deployments(connection: Connection, rollout: Rollout) -> tuple[str, str]:
    """The incumbent's and the candidate's."""
    variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
    return variants[rollout.incumbent].deployment, variants[rollout.candidate].deployment

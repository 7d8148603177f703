"""Every query on rollouts and their events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from changeover.rollouts.decide import ACTIVE, Hold, Plan, Rollout, State, Step
from changeover.store.schema import approvals, overrides, rollout_events, rollouts

_ROLLOUT_FIELDS = tuple(field.name for field in fields(Rollout))


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a rollout, with what it was decided from."""

    rollout: int
    at: datetime
    actor: str
    action: str
    reason: str
    evidence: Mapping[str, Any]
    revision: int | None


Gate = Literal["evaluation", "approval"]


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Somebody agreed to a rollout."""

    rollout: int
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Override:
    """Leave to go on without what a gate asks for. It stays in sight until it ends."""

    id: int
    task: str
    rollout: int
    gate: Gate
    approver: str
    actor: str
    reason: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    ended_because: str | None = None


def add_rollout(connection: Connection, rollout: Rollout) -> Rollout:
    """Write a new rollout and return it with its number."""
    values = asdict(rollout)
    del values["id"]
    values["hold"] = _hold_document(rollout.hold)
    key = connection.execute(insert(rollouts).values(**values)).inserted_primary_key
    assert key is not None
    return replace(rollout, id=int(key[0]))


def active_rollouts(connection: Connection) -> list[Rollout]:
    """Rollouts that are under way, oldest first."""
    rows = connection.execute(select(rollouts).where(rollouts.c.state.in_(ACTIVE)).order_by(rollouts.c.id))
    return [_rollout(row) for row in rows]


def lock_rollout(connection: Connection, id: int) -> Rollout | None:
    """Read a rollout for changing it in this transaction; nobody else changes it meanwhile."""
    # PostgreSQL locks the row; SQLite's writers already hold the only write lock.
    return _first(connection, select(rollouts).where(rollouts.c.id == id).with_for_update())


def find_rollout(connection: Connection, id: int) -> Rollout | None:
    return _first(connection, select(rollouts).where(rollouts.c.id == id))


def newest_rollouts(
    connection: Connection, *, tasks: Sequence[str] | None, before: int | None, ended: bool, limit: int
) -> list[Rollout]:
    """Rollouts, newest first.

    Args:
        connection: For reading.
        tasks: Only of these; None: of all.
        before: Only those with a smaller number.
        ended: Those that have ended, or those under way.
        limit: Most of them.
    """
    query = select(rollouts).where(rollouts.c.state.not_in(ACTIVE) if ended else rollouts.c.state.in_(ACTIVE))
    if tasks is not None:
        query = query.where(rollouts.c.task.in_(tasks))
    if before is not None:
        query = query.where(rollouts.c.id < before)
    return [_rollout(row) for row in connection.execute(query.order_by(rollouts.c.id.desc()).limit(limit))]


def newest_event(connection: Connection, rollout: int) -> int:
    """The number of the last thing that happened to a rollout; 0 before the first."""
    query = select(rollout_events.c.id).where(rollout_events.c.rollout == rollout)
    return connection.execute(query.order_by(rollout_events.c.id.desc()).limit(1)).scalar() or 0


def rollouts_among(connection: Connection, ids: Iterable[int]) -> dict[int, Rollout]:
    """Rollouts by number, those that are there. At most some hundreds."""
    rows = connection.execute(select(rollouts).where(rollouts.c.id.in_(list(ids))))
    return {rollout.id: rollout for rollout in map(_rollout, rows)}


def rollouts_of_trial(connection: Connection, trial: int) -> list[Rollout]:
    """Rollouts that came from a trial, oldest first."""
    rows = connection.execute(select(rollouts).where(rollouts.c.trial == trial).order_by(rollouts.c.id))
    return [_rollout(row) for row in rows]


def latest_rollout(connection: Connection, task: str) -> Rollout | None:
    """The newest rollout of a task, under way or not."""
    return _first(connection, select(rollouts).where(rollouts.c.task == task).order_by(rollouts.c.id.desc()).limit(1))


def latest_rollouts(connection: Connection) -> dict[str, Rollout]:
    """The newest rollout of every task that has had one."""
    newest = select(func.max(rollouts.c.id)).group_by(rollouts.c.task)
    rows = connection.execute(select(rollouts).where(rollouts.c.id.in_(newest)))
    return {rollout.task: rollout for rollout in map(_rollout, rows)}


def move(connection: Connection, rollout: Rollout, *, state: State, step: int, now: datetime) -> None:
    """Bring a rollout to another state or step. Whatever it waited for, it goes on."""
    ended = None if state in ACTIVE else now
    connection.execute(
        update(rollouts)
        .where(rollouts.c.id == rollout.id)
        .values(state=state, step=step, step_started_at=now, hold=None, ended_at=ended)
    )


def put_hold(connection: Connection, rollout: Rollout, hold: Hold | None) -> None:
    """Have a rollout wait for a person, or go on."""
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(hold=_hold_document(hold)))


def note_comparison(connection: Connection, rollout: Rollout, comparison: str | None) -> None:
    """Write down what a rollout's evaluation found; None: that it is to be made anew."""
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(comparison=comparison))


def note_override(connection: Connection, rollout: Rollout, override: int) -> None:
    """Write down what lets a rollout pass a gate."""
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(override=override))


def add_event(connection: Connection, event: Event) -> None:
    connection.execute(insert(rollout_events).values(**asdict(event)))


def add_approval(connection: Connection, approval: Approval) -> None:
    connection.execute(insert(approvals).values(**asdict(approval)))


def approvals_of(connection: Connection, rollout: int) -> list[Approval]:
    """Who agreed to a rollout, in order."""
    rows = connection.execute(select(approvals).where(approvals.c.rollout == rollout).order_by(approvals.c.id))
    return [Approval(rollout=row.rollout, actor=row.actor, reason=row.reason, at=row.at) for row in rows]


def who_approved(connection: Connection, among: Iterable[int]) -> dict[int, list[str]]:
    """Who agreed to each of some rollouts, in order. At most some hundreds."""
    rows = connection.execute(
        select(approvals.c.rollout, approvals.c.actor)
        .where(approvals.c.rollout.in_(list(among)))
        .order_by(approvals.c.id)
    )
    found: dict[int, list[str]] = {}
    for row in rows:
        found.setdefault(row.rollout, []).append(row.actor)
    return found


def add_override(connection: Connection, made: Override) -> Override:
    """Write an override and return it with its number."""
    values = asdict(made)
    del values["id"]
    key = connection.execute(insert(overrides).values(**values)).inserted_primary_key
    assert key is not None
    return replace(made, id=int(key[0]))


def overrides_of(connection: Connection, rollout: int) -> list[Override]:
    """Overrides of a rollout, ended ones too, oldest first."""
    rows = connection.execute(select(overrides).where(overrides.c.rollout == rollout).order_by(overrides.c.id))
    return [_override(row) for row in rows]


def open_overrides(connection: Connection) -> list[Override]:
    """Overrides that have not ended, oldest first; also those whose time is over and that nobody has ended."""
    rows = connection.execute(select(overrides).where(overrides.c.ended_at.is_(None)).order_by(overrides.c.id))
    return [_override(row) for row in rows]


def end_override(connection: Connection, id: int, *, because: str, now: datetime) -> None:
    connection.execute(update(overrides).where(overrides.c.id == id).values(ended_at=now, ended_because=because))


def rollout_history(connection: Connection, rollout: int) -> list[Event]:
    """Events of a rollout, oldest first."""
    rows = connection.execute(
        select(rollout_events).where(rollout_events.c.rollout == rollout).order_by(rollout_events.c.id)
    )
    return [_event(row) for row in rows]


def events_of_task(connection: Connection, task: str, since: datetime | None = None) -> list[Event]:
    """What happened to all rollouts of a task, oldest first."""
    query = (
        select(rollout_events)
        .join(rollouts, rollouts.c.id == rollout_events.c.rollout)
        .where(rollouts.c.task == task)
        .order_by(rollout_events.c.id)
    )
    if since is not None:
        query = query.where(rollout_events.c.at >= since)
    return [_event(row) for row in connection.execute(query)]


def _event(row: Row[Any]) -> Event:
    return Event(**{field.name: getattr(row, field.name) for field in fields(Event)})


def _override(row: Row[Any]) -> Override:
    return Override(**{field.name: getattr(row, field.name) for field in fields(Override)})


def _hold_document(hold: Hold | None) -> dict[str, Any] | None:
    return None if hold is None else {**asdict(hold), "since": hold.since.isoformat()}


def _first(connection: Connection, query: Select[Any]) -> Rollout | None:
    row = connection.execute(query).first()
    return None if row is None else _rollout(row)


def _rollout(row: Row[Any]) -> Rollout:
    values = {name: getattr(row, name) for name in _ROLLOUT_FIELDS}
    plan: dict[str, Any] = values["plan"]
    steps = tuple(Step(**step) for step in plan["steps"])
    frozen: dict[str, Any] = {**plan, "steps": steps, "approvers": tuple(plan.get("approvers", ()))}
    values["plan"] = Plan(**frozen)
    held: dict[str, Any] | None = values["hold"]
    if held is not None:
        since = datetime.fromisoformat(held["since"])
        values["hold"] = Hold(kind=held["kind"], actor=held["actor"], reason=held["reason"], since=since)
    return Rollout(**values)

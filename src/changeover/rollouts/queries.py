"""Every query on rollouts and their events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from changeover.rollouts.decide import ACTIVE, Plan, Rollout, State, Step
from changeover.store.schema import rollout_events, rollouts

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


def add_rollout(connection: Connection, rollout: Rollout) -> Rollout:
    """Write a new rollout and return it with its number."""
    values = asdict(rollout)
    del values["id"]
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


def latest_rollout(connection: Connection, task: str) -> Rollout | None:
    """The newest rollout of a task, under way or not."""
    return _first(connection, select(rollouts).where(rollouts.c.task == task).order_by(rollouts.c.id.desc()).limit(1))


def move(connection: Connection, rollout: Rollout, *, state: State, step: int, now: datetime) -> None:
    """Bring a rollout to another state or step."""
    ended = None if state in ACTIVE else now
    connection.execute(
        update(rollouts)
        .where(rollouts.c.id == rollout.id)
        .values(state=state, step=step, step_started_at=now, ended_at=ended)
    )


def add_event(connection: Connection, event: Event) -> None:
    connection.execute(insert(rollout_events).values(**asdict(event)))


def rollout_history(connection: Connection, rollout: int) -> list[Event]:
    """Events of a rollout, oldest first."""
    rows = connection.execute(
        select(rollout_events).where(rollout_events.c.rollout == rollout).order_by(rollout_events.c.id)
    )
    names = [field.name for field in fields(Event)]
    return [Event(**{name: getattr(row, name) for name in names}) for row in rows]


def _first(connection: Connection, query: Select[Any]) -> Rollout | None:
    row = connection.execute(query).first()
    return None if row is None else _rollout(row)


def _rollout(row: Row[Any]) -> Rollout:
    values = {name: getattr(row, name) for name in _ROLLOUT_FIELDS}
    plan: dict[str, Any] = values["plan"]
    values["plan"] = Plan(
        steps=tuple(Step(**step) for step in plan["steps"]),
        tolerated_failures=plan["tolerated_failures"],
        alpha=plan["alpha"],
        bake_s=plan["bake_s"],
    )
    return Rollout(**values)

"""Exchanges in the order in which they arrived in the store: how those who watch rollouts read them.

Each exchange has a number. On SQLite, where writers take turns, a number is committed before any larger one. On
PostgreSQL many processes write at once, and a smaller number may become visible after a larger one was read. Whoever
follows the order there reads a stretch anew each time, and remembers which of the last exchanges it has counted:

    since = max(newest - OVERLAP, 0)
    fresh = [each for each in observed_since(connection, since) if each.id not in counted]

SQLite gives the numbers of the newest exchanges again once all of them were deleted, as after weeks without a request:
whoever has read up to a number above `newest_seq` goes on from that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Integer, Row, Select, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from changeover.store.schema import ARRIVAL, exchanges
from changeover.tasks.routes import Side

OVERLAP = 2_000
"""Numbers that a reader goes back on PostgreSQL. Several gateways of some thousand requests a second commit within a few
hundred of each other; one that hangs within a transaction for longer is a fault, and its requests are then not watched."""
MOST_AT_ONCE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a watcher of rollouts reads of one exchange; no content."""

    seq: int
    """Its number in the order of arrival. Not without gaps."""
    id: str
    task: str
    variant: str | None
    """Who answered; of a copy who was asked, also where it failed. None: nobody answered."""
    failed_variants: tuple[str, ...]
    """Variants that were asked and could not answer, or not in the shape that was asked for."""
    side: Side | None
    status: int
    truncated: bool
    abandoned: bool
    violation: str | None
    """What was wrong with the answer; None: nothing, or it was not looked at."""
    duration_ms: float
    internal: bool
    shadow_of: str | None
    """The exchange that this is a copy of."""
    started_at: datetime
    error_source: str | None


def observed_since(connection: Connection, seq: int, limit: int = MOST_AT_ONCE) -> list[Observed]:
    """Exchanges of all tasks that came after a number, in order of arrival; the first `limit` of them."""
    arrival = _arrival(connection)
    rows = connection.execute(_columns(arrival).where(arrival > seq).order_by(arrival).limit(limit))
    return [_observed(row) for row in rows]


def observed_of(connection: Connection, task: str, since: datetime, until_seq: int) -> list[Observed]:
    """Exchanges of a task that began at a moment or later and came no later than a number, in order of arrival.

    For whoever was started again and has to know what it had seen before.
    """
    arrival = _arrival(connection)
    query = _columns(arrival).where(exchanges.c.task == task, exchanges.c.started_at >= since, arrival <= until_seq)
    return [_observed(row) for row in connection.execute(query.order_by(arrival))]


def newest_seq(connection: Connection) -> int:
    """The largest number that is visible now; 0 before the first exchange."""
    newest = select(func.coalesce(func.max(_arrival(connection)), 0)).select_from(exchanges)
    return int(connection.execute(newest).scalar_one())


def _arrival(connection: Connection) -> ColumnElement[int]:
    return literal_column(ARRIVAL[connection.dialect.name], Integer)


def _columns(arrival: ColumnElement[int]) -> Select[Any]:
    named = [exchanges.c[field.name] for field in fields(Observed) if field.name != "seq"]
    return select(arrival.label("seq"), *named)


def _observed(row: Row[Any]) -> Observed:
    values = {field.name: getattr(row, field.name) for field in fields(Observed)}
    values["failed_variants"] = tuple(values["failed_variants"].split())
    return Observed(**values)

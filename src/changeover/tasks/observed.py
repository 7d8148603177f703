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
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Integer, Row, Select, func, literal_column, or_, select
from sqlalchemy.sql.elements import ColumnElement

from changeover.store.schema import ARRIVAL, exchanges
from changeover.tasks.routes import Side

OVERLAP = 2_000
"""Numbers that a reader goes back on PostgreSQL. Several gateways of some thousand requests a second commit within a few
hundred of each other; one that hangs within a transaction for longer is a fault, and its requests are then not watched."""
MOST_AT_ONCE = 5_000
SET_BACK = timedelta(hours=26)
"""How far a clock may have been set back while a rollout is under way, so that a restart still finds all that is known of
it. Who is not started again misses nothing, however far it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a watcher of rollouts reads of one exchange; no content."""

    seq: int
    """Its number in the order of arrival. Not without gaps."""
    id: str
    task: str
    revision: int | None
    """Of the route by which it was answered. It rises however the clock is set."""
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


def observed_of(
    connection: Connection, task: str, since: datetime, revision: int | None, until_seq: int
) -> list[Observed]:
    """What a watcher had seen of a task before it was started again, in order of arrival.

    Args:
        connection: For one query.
        task: Its name.
        since: Exchanges that began then or later, and of those before, as far as `SET_BACK` goes:
        revision: Exchanges that were answered by this route revision or a later one; None: none.
        until_seq: Those that came later have still to be read.
    """
    arrival = _arrival(connection)
    began = exchanges.c.started_at >= since
    if revision is not None:
        answered = (exchanges.c.started_at >= since - SET_BACK) & (exchanges.c.revision >= revision)
        began = or_(began, answered)
    query = _columns(arrival).where(exchanges.c.task == task, began, arrival <= until_seq)
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

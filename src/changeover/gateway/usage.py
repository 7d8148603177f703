"""Who used how much, by the hour: counted in memory, written with the records, exact whatever becomes of these.

A row holds the totals of this process for one hour and one combination; it is overwritten with larger totals, so that
a write which is tried twice counts once. The recorder counts and writes:

    usage.count(exchange)                     # in the event loop
    with store.append() as connection:        # in its thread, with the exchanges
        rows = usage.write(connection)
    usage.written(rows)                       # after the commit; not when it failed
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from changeover.core.clock import Clock
from changeover.gateway.spool import Spool
from changeover.store.schema import usage
from changeover.tasks.exchanges import Exchange

HOUR = timedelta(hours=1)
KEPT_HOURS = 2
"""Hours that are over stay in memory so long: requests end after the hour in which they began."""

Place = tuple[datetime, str, str, str, str, bool]
"""Hour, team, key, task, deployment, internal."""


class UsageRow(NamedTuple):
    """Totals of one process for one hour and one combination."""

    writer: str
    hour: datetime
    team: str
    """Empty: none."""
    key: str
    task: str
    deployment: str
    """Empty: nobody answered."""
    internal: bool
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    estimated: int
    cost_microusd: int
    unpriced: int

    @property
    def place(self) -> Place:
        return self[1:7]


class Usage:
    """The counters of one process. `count` belongs to one event loop; `write` and `written` to one thread at a time."""

    def __init__(self, writer: str, clock: Clock, *, spool: Path | None = None) -> None:
        """Begin at zero.

        Args:
            writer: This process's name; no other process's, ever.
            clock: Says when an hour is over.
            spool: Private directory for what could not be written at the end; `restore` reads it.
        """
        self._writer = writer
        self._clock = clock
        self._spool = None if spool is None else Spool(spool, "usage", writer)
        self._totals: dict[Place, list[int]] = {}
        self._written: dict[Place, int] = {}
        """Requests of each row when it was written last."""
        self._earlier: list[UsageRow] = []
        """Of processes that could not write them."""
        self._hour = self._next = datetime.min.replace(tzinfo=UTC)
        self._oldest = self._hour
        """Hours before it were written and dropped: what still comes is counted in the newest."""

    def count(self, exchange: Exchange) -> None:
        """Count one request, in the hour in which it began."""
        at = exchange.started_at
        hour = self._hour if self._hour <= at < self._next else self._hour_of(at)
        place = (
            hour,
            exchange.team or "",
            exchange.key or "",
            exchange.task,
            exchange.deployment or "",
            exchange.internal,
        )
        totals = self._totals.get(place)
        if totals is None:
            totals = self._totals[place] = [0] * 7
        prompt, completion, cost = exchange.prompt_tokens or 0, exchange.completion_tokens or 0, exchange.cost_microusd
        if exchange.status >= 400 or exchange.truncated:
            totals[1] += 1
        totals[2] += prompt
        totals[3] += completion
        if exchange.usage_estimated:
            totals[4] += 1
        if cost is not None:
            totals[5] += cost
        elif prompt or completion:
            totals[6] += 1
        # Last: a row that is read in a thread meanwhile looks unwritten until all of this request is in it.
        totals[0] += 1

    def _hour_of(self, at: datetime) -> datetime:
        hour = _hour(at)
        if hour < self._oldest:
            return self._hour
        if hour > self._hour:
            self._hour, self._next = hour, hour + HOUR
            self._forget()
        return hour

    @property
    def waiting(self) -> int:
        """Rows whose totals the store does not have yet."""
        written = self._written
        return len(self._earlier) + sum(totals[0] != written.get(place) for place, totals in list(self._totals.items()))

    def rows(self) -> list[UsageRow]:
        """Rows whose totals the store does not have yet, as they are now."""
        written = self._written
        # `list` of a dict's items is one step for other threads.
        now = [(place, list(totals)) for place, totals in list(self._totals.items())]
        changed = [UsageRow(self._writer, *place, *totals) for place, totals in now if totals[0] != written.get(place)]
        return [*self._earlier, *changed]

    def write(self, connection: Connection) -> list[UsageRow]:
        """Write what the store does not have, in a transaction of the caller; give the rows to `written` afterwards."""
        rows = self.rows()
        if rows:
            write_usage(connection, rows)
        return rows

    def written(self, rows: Sequence[UsageRow]) -> None:
        """Take note that rows were committed."""
        for row in rows:
            if row.writer == self._writer:
                self._written[row.place] = row.requests
        if self._earlier and rows[: len(self._earlier)] == self._earlier:
            self._earlier = []
            if self._spool is not None:
                self._spool.done()

    def restore(self) -> None:
        """Read what earlier processes could not write; it goes out with the next write."""
        if self._spool is not None:
            self._earlier += self._spool.take(UsageRow)

    def keep(self) -> None:
        """At the end: keep what is not in the store for the next start."""
        if self._spool is not None:
            self._spool.write([row for row in self.rows() if row.writer == self._writer])
            self._spool.leave()

    def _forget(self) -> None:
        """Drop rows of hours that are over, once they are written. Their totals must never begin at zero again."""
        oldest = _hour(self._clock.now() - KEPT_HOURS * HOUR)
        if oldest <= self._oldest:
            return
        over = [place for place in self._totals if place[0] < oldest]
        if all(self._totals[place][0] == self._written.get(place) for place in over):
            self._oldest = oldest
            if self._hour < oldest:
                self._hour = self._next = oldest
            for place in over:
                del self._totals[place], self._written[place]


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def write_usage(connection: Connection, rows: Sequence[UsageRow]) -> None:
    """Put rows into the store; those of the same writer, hour and combination are replaced."""
    values: list[dict[str, Any]] = [row._asdict() for row in rows]
    columns = [column.name for column in usage.columns if not column.primary_key]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    into = dialect.insert(usage)
    change = {name: into.excluded[name] for name in columns}
    connection.execute(into.on_conflict_do_update(index_elements=usage.primary_key.columns, set_=change), values)

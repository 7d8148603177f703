"""What pages ask of recorded exchanges: each query looks at the newest so many of one task, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, FromClause, Integer, Row, Select, bindparam, or_, select

from changeover.store.newest import BEGINNING, newest_asked, newest_of_each
from changeover.store.schema import exchanges

MOST_TIMED = 200
"""Newest exchanges of a task that its latency is taken from."""
MOST_LOOKED_AT = 2_000
"""Exchanges, where some of a kind are looked for."""

Place = tuple[datetime, str]
"""Where an exchange stands among those of its task: when it began, and its id."""
Kind = Literal["all", "failed", "internal"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One exchange in brief."""

    id: str
    started_at: datetime
    variant: str | None
    deployment: str | None
    side: str | None
    internal: bool
    stream: bool
    status: int
    error: str | None
    truncated: bool
    abandoned: bool
    attempts: int
    duration_ms: float
    first_chunk_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None

    @property
    def failed(self) -> bool:
        """An error of ours or of a model, or an answer that broke off."""
        return self.status >= 500 or self.truncated


_SEEN = tuple(field.name for field in fields(Seen))
_NEWEST = (exchanges.c.started_at.desc(), exchanges.c.id.desc())


_DURATIONS = ("duration_ms", "internal", "status", "truncated", "abandoned")


def _whole(newest: FromClause) -> tuple[ColumnElement[bool], ...]:
    """Answers to applications that were not cut off."""
    return (newest.c.status < 300, *(newest.c[name].is_(False) for name in ("internal", "truncated", "abandoned")))


def _timed_between() -> Select[Any]:
    """Durations of whole answers. Made once: a page asks for those of every hour, and making one costs as much."""
    newest = (
        select(*(exchanges.c[name] for name in _DURATIONS))
        .where(
            exchanges.c.task == bindparam("task"),
            exchanges.c.started_at >= bindparam("since"),
            exchanges.c.started_at < bindparam("until"),
        )
        .order_by(exchanges.c.started_at.desc())
        .limit(bindparam("most", type_=Integer))
        .subquery()
    )
    return select(newest.c.duration_ms).where(*_whole(newest))


_TIMED_BETWEEN = _timed_between()
_NEWEST_TIMED = newest_of_each(
    exchanges, "started_at", MOST_TIMED, (exchanges.c.task, exchanges.c.duration_ms), lambda each: ()
).where(*_whole(exchanges))


def newest_durations(connection: Connection, tasks: Collection[str]) -> dict[str, list[float]]:
    """What whole answers to applications took among the newest `MOST_TIMED` exchanges of each task, milliseconds."""
    found: dict[str, list[float]] = {}
    for row in connection.execute(_NEWEST_TIMED, newest_asked(tasks, BEGINNING)).all():
        found.setdefault(row.task, []).append(row.duration_ms)
    return found


def durations_between(connection: Connection, task: str, since: datetime, until: datetime, most: int) -> list[float]:
    """What whole answers to applications took among the newest exchanges of a task that began in [since, until)."""
    asked = {"task": task, "most": most, "since": since, "until": until}
    return list(connection.execute(_TIMED_BETWEEN, asked).scalars())


def seen_since(connection: Connection, task: str, since: datetime, most: int) -> list[Seen]:
    """Requests of applications among the newest `most` exchanges of a task that began since then, newest first."""
    query = _seen().where(exchanges.c.task == task, exchanges.c.started_at >= since).order_by(*_NEWEST)
    return [each for each in map(_row, connection.execute(query.limit(most))) if not each.internal]


def newest_mark(connection: Connection, task: str) -> Place | None:
    """Where the newest exchange of a task stands; None before the first."""
    query = select(exchanges.c.started_at, exchanges.c.id).where(exchanges.c.task == task).order_by(*_NEWEST)
    row = connection.execute(query.limit(1)).first()
    return None if row is None else (row.started_at, row.id)


def page_of(
    connection: Connection, task: str, before: Place | None, kind: Kind, most: int
) -> tuple[list[Seen], Place | None]:
    """Exchanges of a task, newest first, and where the next page begins; None at the end.

    Args:
        connection: For reading.
        task: Its name.
        before: Those that stand before it; None: from the newest on.
        kind: Which; those of a kind are looked for among `MOST_LOOKED_AT`, so that a page may hold fewer than `most`.
        most: Of one page.
    """
    query = _seen().where(exchanges.c.task == task)
    if before is not None:
        at, id = before
        earlier = or_(exchanges.c.started_at < at, exchanges.c.id < id)
        query = query.where(exchanges.c.started_at <= at, earlier)
    looked_at = MOST_LOOKED_AT if kind != "all" else most
    rows = list(map(_row, connection.execute(query.order_by(*_NEWEST).limit(looked_at + 1))))
    ended, rows = len(rows) <= looked_at, rows[:looked_at]
    found = [each for each in rows if _is(each, kind)][: most + 1]
    if len(found) > most:
        found = found[:most]
        return found, (found[-1].started_at, found[-1].id)
    return found, None if ended or not rows else (rows[-1].started_at, rows[-1].id)


def _seen() -> Select[Any]:
    return select(*(exchanges.c[name] for name in _SEEN))


def _row(row: Row[Any]) -> Seen:
    return Seen(**{name: getattr(row, name) for name in _SEEN})


def _is(seen: Seen, kind: Kind) -> bool:
    if kind == "failed":
        return seen.failed
    return seen.internal if kind == "internal" else True


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that so large a share of them does not exceed; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

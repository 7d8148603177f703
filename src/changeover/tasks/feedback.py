"""What callers say of answers: every query on it. The gateway writes it, rollouts read it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Integer, Row, cast, func, insert, select

from changeover.store.newest import newest_asked, newest_of_each
from changeover.store.schema import exchanges, feedback

MOST_AT_ONCE = 5_000
MOST_RATED = 500
"""Newest words on a task that are counted."""
_FEEDBACK = select(feedback, exchanges.c.revision).outerjoin(exchanges, exchanges.c.id == feedback.c.exchange)


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Somebody called an answer good or bad. The newest of one caller on one exchange counts."""

    id: int
    """Rises in the order of writing; 0 before it is written."""
    exchange: str
    task: str
    variant: str
    """Whose answer it was."""
    good: bool
    comment: str | None
    key: str
    """Id of the caller's key."""
    at: datetime
    revision: int | None = None
    """Of the route by which the exchange was answered; None before it is read, or where the exchange is not kept any
    more."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """What has to be known of an exchange before somebody may rate it."""

    task: str
    variant: str | None
    key: str | None
    team: str | None


def rated_exchange(connection: Connection, id: str) -> Rated | None:
    """The exchange of a request; None: there is no row of it, or not yet."""
    columns = [exchanges.c[field.name] for field in fields(Rated)]
    row = connection.execute(select(*columns).where(exchanges.c.id == id)).first()
    return None if row is None else Rated(**{field.name: getattr(row, field.name) for field in fields(Rated)})


def add_feedback(connection: Connection, given: Feedback) -> None:
    """Write what a caller said, unless its newest word on the exchange is the same already."""
    newest = connection.execute(
        select(feedback.c.good, feedback.c.comment)
        .where(feedback.c.exchange == given.exchange, feedback.c.key == given.key)
        .order_by(feedback.c.id.desc())
        .limit(1)
    ).first()
    if newest is not None and (newest.good, newest.comment) == (given.good, given.comment):
        return
    values = asdict(given)
    del values["id"], values["revision"]
    connection.execute(insert(feedback).values(**values))


def feedback_since(connection: Connection, id: int, limit: int = MOST_AT_ONCE) -> list[Feedback]:
    """What was said after a number, in order; the first `limit` of it.

    It is written in turns, so that a number is seen before any larger one on either database.
    """
    rows = connection.execute(_FEEDBACK.where(feedback.c.id > id).order_by(feedback.c.id).limit(limit))
    return [_feedback(row) for row in rows]


def feedback_of(connection: Connection, task: str, since: datetime, until_id: int) -> list[Feedback]:
    """What was said of a task's answers at a moment or later, up to a number, in order."""
    query = _FEEDBACK.where(feedback.c.task == task, feedback.c.at >= since, feedback.c.id <= until_id)
    return [_feedback(row) for row in connection.execute(query.order_by(feedback.c.id))]


def newest_feedback_of(connection: Connection, task: str, limit: int, *, comments: bool = False) -> list[Feedback]:
    """The newest words on a task's answers, newest first; with `comments` those among `MOST_AT_ONCE` that say something."""
    columns = [feedback.c[name] for name in ("id", "exchange", "task", "variant", "good", "comment", "key", "at")]
    query = select(*columns).where(feedback.c.task == task).order_by(feedback.c.at.desc())
    if comments:
        seen = query.limit(MOST_AT_ONCE).subquery()
        query = select(seen).where(seen.c.comment.is_not(None)).order_by(seen.c.at.desc())
    return [Feedback(**row) for row in connection.execute(query.limit(limit)).mappings()]


def feedback_on(connection: Connection, exchange: str, limit: int = 20) -> list[Feedback]:
    """The newest words on one exchange, newest first."""
    query = _FEEDBACK.where(feedback.c.exchange == exchange).order_by(feedback.c.id.desc()).limit(limit)
    return [_feedback(row) for row in connection.execute(query)]


_GOODS = newest_of_each(
    feedback,
    "at",
    MOST_RATED,
    (feedback.c.task, func.count().label("said"), func.sum(cast(feedback.c.good, Integer)).label("good")),
    lambda each: (),
).group_by(feedback.c.task)


def goods_of(connection: Connection, tasks: Collection[str], since: datetime) -> dict[str, tuple[int, int]]:
    """How many of the newest `MOST_RATED` words on each task's answers since a moment are there, and how many are good."""
    rows = connection.execute(_GOODS, newest_asked(tasks, since))
    return {row.task: (int(row.said), int(row.good)) for row in rows}


def newest_feedback(connection: Connection) -> int:
    """The largest number that is visible now; 0 before the first word."""
    return int(connection.execute(select(func.coalesce(func.max(feedback.c.id), 0))).scalar_one())


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(**{field.name: getattr(row, field.name) for field in fields(Feedback)})

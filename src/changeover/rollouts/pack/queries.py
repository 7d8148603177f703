"""Every query that only an evidence pack needs: what the candidate was asked, and what was said of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, and_, false, literal_column, or_, select
from sqlalchemy.sql.elements import ColumnElement

from changeover.rollouts.decide import Rollout
from changeover.rollouts.pack.records import CLOCKS_APART, Rating
from changeover.store.schema import ARRIVAL, exchanges, feedback
from changeover.tasks.exchanges import Exchange
from changeover.tasks.observed import SET_BACK

ROWS_AT_ONCE = 2000

_WITHOUT_CONTENT = [
    exchanges.c[name] for name in Exchange.__struct_fields__ if name not in ("request", "response", "key", "team")
]


def asked_of_candidate(connection: Connection, rollout: Rollout, first: int | None) -> Iterator[Exchange]:
    """Exchanges that a rollout's candidate answered or failed, copies included, in order of arrival and without content.

    Those of route revision `first` and later are its own, however the clock was set. Of a rollout that is over, those that began before its end, or so little later that clocks may disagree.
    """
    stepped_in = exchanges.c.failed_variants.contains(rollout.candidate)
    query = (
        select(*_WITHOUT_CONTENT)
        .where(
            exchanges.c.task == rollout.task,
            or_(exchanges.c.started_at >= rollout.created_at, _answered_for(rollout, first)),
            exchanges.c.started_at <= _end(rollout),
            or_(exchanges.c.internal.is_(False), exchanges.c.shadow_of.is_not(None)),
            or_(stepped_in, exchanges.c.variant == rollout.candidate),
        )
        .order_by(literal_column(ARRIVAL[connection.dialect.name]))
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    for row in connection.execute(query):
        values = dict(row._mapping)  # pyright: ignore[reportPrivateUsage] - SQLAlchemy's own documented way
        values["failed_variants"] = tuple(values["failed_variants"].split())
        yield Exchange(**values, key=None)


def ratings_of_candidate(connection: Connection, rollout: Rollout) -> Iterator[Rating]:
    """What users said of a rollout's candidate, in the order in which they said it."""
    query = (
        select(feedback.c.exchange, feedback.c.good, feedback.c.key, feedback.c.at, exchanges.c.revision)
        .select_from(feedback.outerjoin(exchanges, exchanges.c.id == feedback.c.exchange))
        .where(
            and_(feedback.c.task == rollout.task, feedback.c.variant == rollout.candidate),
            feedback.c.at >= rollout.created_at - SET_BACK,
            feedback.c.at <= _end(rollout),
        )
        .order_by(feedback.c.id)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    rated: set[tuple[str, str]] = set()
    for row in connection.execute(query):
        who = (row.exchange, row.key)
        yield Rating(exchange=row.exchange, good=row.good, revision=row.revision, first=who not in rated, at=row.at)
        rated.add(who)


def _answered_for(rollout: Rollout, first: int | None) -> ColumnElement[bool]:
    if first is None:
        return false()
    return and_(exchanges.c.revision >= first, exchanges.c.started_at >= rollout.created_at - SET_BACK)


def _end(rollout: Rollout) -> datetime:
    """The last moment that is asked for; of a rollout that is under way, none lies behind it."""
    if rollout.ended_at is not None:
        return rollout.ended_at + CLOCKS_APART
    return datetime.max.replace(tzinfo=rollout.created_at.tzinfo)

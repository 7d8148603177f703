"""Every query on routes and exchanges."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

from sqlalchemy import Boolean, Connection, Dialect, Integer, Row, cast, func, insert, select
from sqlalchemy.types import TypeEngine

from changeover.store.schema import ModelText, UtcDateTime, exchanges, routes
from changeover.tasks.exchanges import Copies, Exchange
from changeover.tasks.routes import Route

ROWS_IN_ONE = 32
"""Exchanges that one statement writes, where there are so many."""
ROWS_AT_ONCE = 500
"""With their content, when many are read."""
MOST_LOOKED_AT = 2_000
"""Of a task's newest exchanges, or of revisions, where any one of a kind is wanted."""

_ROUTE_FIELDS = tuple(field.name for field in fields(Route))
_EXCHANGE_FIELDS = Exchange.__struct_fields__


def current_routes(connection: Connection) -> dict[str, Route]:
    """The newest revision of every task."""
    newest = select(func.max(routes.c.revision)).group_by(routes.c.task)
    rows = connection.execute(select(routes).where(routes.c.revision.in_(newest)))
    return {route.task: route for route in map(_route, rows)}


def current_route(connection: Connection, task: str) -> Route | None:
    """The newest revision of one task."""
    rows = connection.execute(select(routes).where(routes.c.task == task).order_by(routes.c.revision.desc()).limit(1))
    row = rows.first()
    return None if row is None else _route(row)


def route_at(connection: Connection, task: str, revision: int) -> Route | None:
    """One revision of a task's route."""
    row = connection.execute(select(routes).where(routes.c.task == task, routes.c.revision == revision)).first()
    return None if row is None else _route(row)


def last_promotion(connection: Connection, task: str) -> Route | None:
    """The newest revision of a task that a promotion wrote."""
    row = connection.execute(
        select(routes)
        .where(routes.c.task == task, routes.c.action == "promote")
        .order_by(routes.c.revision.desc())
        .limit(1)
    ).first()
    return None if row is None else _route(row)


def revisions_of(connection: Connection, task: str, rollout: int) -> tuple[int, int] | None:
    """The first and the newest revision of a task that one rollout wrote; None where it wrote none."""
    first, newest = connection.execute(
        select(func.min(routes.c.revision), func.max(routes.c.revision)).where(
            routes.c.task == task, routes.c.rollout == rollout
        )
    ).one()
    return None if first is None else (int(first), int(newest))


def append_route(connection: Connection, route: Route) -> Route:
    """Write the next revision of a task and return it with its number."""
    values = asdict(route)
    del values["revision"]
    key = connection.execute(insert(routes).values(**values)).inserted_primary_key
    assert key is not None
    return replace(route, revision=int(key[0]))


def route_history(connection: Connection, task: str, limit: int = 100, before: int | None = None) -> list[Route]:
    """Revisions of one task, newest first; those before one where it is given."""
    query = select(routes).where(routes.c.task == task)
    if before is not None:
        query = query.where(routes.c.revision < before)
    return [_route(row) for row in connection.execute(query.order_by(routes.c.revision.desc()).limit(limit))]


def answering_since(connection: Connection, route: Route) -> datetime:
    """When the incumbent of a task's newest revision began to answer it, without a break since."""
    of_task = routes.c.task == route.task
    other = connection.execute(
        select(func.max(routes.c.revision)).where(of_task, routes.c.incumbent != route.incumbent)
    ).scalar()
    query = select(routes.c.created_at).where(of_task, routes.c.revision > (other or 0))
    return connection.execute(query.order_by(routes.c.revision).limit(1)).scalar_one()


def newest_promotion(connection: Connection, tasks: Iterable[str]) -> Route | None:
    """The newest promotion of any of some tasks, among the newest `MOST_LOOKED_AT` revisions."""
    seen = select(routes).order_by(routes.c.revision.desc()).limit(MOST_LOOKED_AT).subquery()
    promoted = seen.c.action == "promote", seen.c.rollout.is_not(None), seen.c.task.in_(list(tasks))
    query = select(seen).where(*promoted)
    row = connection.execute(query.order_by(seen.c.revision.desc()).limit(1)).first()
    return None if row is None else _route(row)


def add_exchanges(connection: Connection, batch: Iterable[Exchange]) -> None:
    """Write exchanges. One that is there already (a batch tried twice) is left as it is."""
    insertion = _exchange_insertion(connection.dialect)
    rows = [insertion.columns(exchange) for exchange in batch]
    whole = len(rows) - len(rows) % ROWS_IN_ONE if insertion.many else 0
    for place in range(0, whole, ROWS_IN_ONE):
        values = tuple(chain.from_iterable(rows[place : place + ROWS_IN_ONE]))
        connection.exec_driver_sql(insertion.many, values)
    if rows[whole:]:
        connection.exec_driver_sql(insertion.one, rows[whole:])


def traffic(connection: Connection, task: str, since: datetime) -> dict[str, int]:
    """Counts of a task's requests from applications: requests, failed, truncated."""
    failed = func.sum(cast(exchanges.c.status >= 500, Integer))
    truncated = func.sum(cast(exchanges.c.truncated, Integer))
    row = connection.execute(
        select(func.count(), func.coalesce(failed, 0), func.coalesce(truncated, 0)).where(
            exchanges.c.task == task, exchanges.c.started_at >= since, exchanges.c.internal.is_(False)
        )
    ).one()
    return {"requests": int(row[0]), "failed_requests": int(row[1]), "truncated_streams": int(row[2])}


def recent_durations(
    connection: Connection, task: str, variant: str, *, since: datetime, until: datetime, limit: int
) -> list[float]:
    """What the newest whole answers of a variant to applications took within a time, milliseconds, oldest first."""
    rows = connection.execute(
        select(exchanges.c.duration_ms)
        .where(
            exchanges.c.task == task,
            exchanges.c.started_at >= since,
            exchanges.c.started_at < until,
            exchanges.c.variant == variant,
            exchanges.c.internal.is_(False),
            exchanges.c.status < 300,
            exchanges.c.truncated.is_(False),
            exchanges.c.abandoned.is_(False),
        )
        .order_by(exchanges.c.started_at.desc())
        .limit(limit)
    ).scalars()
    return [float(duration_ms) for duration_ms in rows][::-1]


def copies(connection: Connection, task: str, variant: str, since: datetime) -> Copies:
    """What copies of a task's requests to a variant took. Nobody was charged for them."""
    tokens = func.coalesce(exchanges.c.prompt_tokens, 0) + func.coalesce(exchanges.c.completion_tokens, 0)
    row = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(tokens), 0),
            func.coalesce(func.sum(exchanges.c.duration_ms), 0.0),
            func.sum(exchanges.c.cost_microusd),
        ).where(
            exchanges.c.task == task,
            exchanges.c.started_at >= since,
            exchanges.c.variant == variant,
            exchanges.c.shadow_of.is_not(None),
        )
    ).one()
    cost = None if row[3] is None else int(row[3]) / 1e6
    return Copies(requests=int(row[0]), tokens=int(row[1]), seconds=float(row[2]) / 1000, cost_usd=cost)


def copied_pairs(
    connection: Connection, task: str, variant: str, *, since: datetime, until: datetime | None, limit: int
) -> list[tuple[Exchange, Exchange]]:
    """Requests with their copies to a variant, newest first: what the caller got, and what nobody got.

    Args:
        connection: For reading.
        task: Whose requests.
        variant: Who answered the copies.
        since: Copies since then.
        until: Copies before then; None: until now.
        limit: Most pairs.
    """
    query = select(exchanges.c.id, exchanges.c.shadow_of).where(
        exchanges.c.task == task,
        exchanges.c.started_at >= since,
        exchanges.c.variant == variant,
        exchanges.c.shadow_of.is_not(None),
    )
    if until is not None:
        query = query.where(exchanges.c.started_at < until)
    ids = [
        (row.shadow_of, row.id)
        for row in connection.execute(query.order_by(exchanges.c.started_at.desc()).limit(limit))
    ]
    found = exchanges_by_id(connection, [id for pair in ids for id in pair])
    return [(found[original], found[copy]) for original, copy in ids if original in found and copy in found]


def newest_answered(
    connection: Connection, task: str, variants: Sequence[str], since: datetime | None
) -> tuple[str, str, datetime] | None:
    """The newest exchange of a caller's that one of some variants answered whole: its id, the variant, when it began.

    Looks at the newest `MOST_LOOKED_AT` exchanges of the task and no further, or at those that began since a moment.
    """
    looked_at = (
        exchanges.c[name] for name in ("id", "variant", "started_at", "status", "internal", "truncated", "shadow_of")
    )
    newest = select(*looked_at).where(exchanges.c.task == task).order_by(exchanges.c.started_at.desc())
    if since is not None:
        newest = newest.where(exchanges.c.started_at >= since)
    seen = newest.limit(MOST_LOOKED_AT).subquery()
    row = connection.execute(
        select(seen.c.id, seen.c.variant, seen.c.started_at)
        .where(
            seen.c.variant.in_(variants),
            seen.c.status == 200,
            seen.c.internal.is_(False),
            seen.c.truncated.is_(False),
            seen.c.shadow_of.is_(None),
        )
        .order_by(seen.c.started_at.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.id, row.variant, row.started_at)


def recent_exchanges(connection: Connection, task: str, limit: int = 20) -> Sequence[Exchange]:
    """The newest exchanges of a task."""
    rows = connection.execute(
        select(exchanges).where(exchanges.c.task == task).order_by(exchanges.c.started_at.desc()).limit(limit)
    )
    return [_exchange(row) for row in rows]


def newest_requests(connection: Connection, task: str, since: datetime, limit: int) -> list[str]:
    """What applications asked a task last, where it was kept, newest first.

    Looks at the newest `MOST_LOOKED_AT` exchanges of the task and no further.
    """
    looked_at = (exchanges.c[name] for name in ("request", "internal", "started_at"))
    newest = select(*looked_at).where(exchanges.c.task == task, exchanges.c.started_at >= since)
    seen = newest.order_by(exchanges.c.started_at.desc()).limit(MOST_LOOKED_AT).subquery()
    rows = connection.execute(
        select(seen.c.request)
        .where(seen.c.request.is_not(None), seen.c.internal.is_(False))
        .order_by(seen.c.started_at.desc())
        .limit(limit)
    )
    return list(rows.scalars())


def exchanges_by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Exchange]:
    """Exchanges with their content, those that are there. At most some hundreds."""
    rows = connection.execute(select(exchanges).where(exchanges.c.id.in_(ids)))
    return {row.id: _exchange(row) for row in rows}


def recorded_exchanges(
    connection: Connection, task: str, since: datetime, only: Sequence[str] | None = None
) -> Iterator[Exchange]:
    """Exchanges of a task whose content was kept: from applications, answered whole by one model; oldest first, read as they are used.

    Args:
        connection: Stays busy until the last one was read.
        task: Its name.
        since: Older ones are left out.
        only: Ids; None: all. At most some thousands.
    """
    query = select(exchanges).where(
        exchanges.c.task == task,
        exchanges.c.started_at >= since,
        exchanges.c.internal.is_(False),
        exchanges.c.status < 300,
        exchanges.c.truncated.is_(False),
        exchanges.c.abandoned.is_(False),
        exchanges.c.begun_by.is_(None),
        exchanges.c.request.is_not(None),
        exchanges.c.response.is_not(None),
    )
    if only is not None:
        query = query.where(exchanges.c.id.in_(only))
    query = query.order_by(exchanges.c.started_at, exchanges.c.id).execution_options(yield_per=ROWS_AT_ONCE)
    rows = connection.execute(query)
    return (_exchange(row) for row in rows)


def _route(row: Row[Any]) -> Route:
    return Route(**{name: getattr(row, name) for name in _ROUTE_FIELDS})


@dataclass(frozen=True, slots=True)
class _Insertion:
    """How exchanges are written, in a database's own words."""

    one: str
    """The statement for one row, run for many."""
    many: str
    """The statement for `ROWS_IN_ONE` rows; empty where that saves nothing."""
    columns: Callable[[Exchange], Any]
    """What makes a row's parameters of an exchange."""


@lru_cache(maxsize=8)
def _exchange_insertion(dialect: Dialect) -> _Insertion:
    """The statements, and what makes their parameters of an exchange.

    Every request of every application becomes a row, so that the general way, which compiles and converts each batch
    anew, costs more than the database does.
    """
    # Both databases have the clause, each in a module of its own; the other one's takes as long to load as a query.
    words = importlib.import_module(f"sqlalchemy.dialects.{dialect.name}")
    compiled = words.insert(exchanges).on_conflict_do_nothing().compile(dialect=dialect)
    names: Sequence[str] = compiled.positiontup or _EXCHANGE_FIELDS
    converted = [
        (place, process)
        for place, name in enumerate(names)
        if (process := _processor(exchanges.c[name].type, dialect)) is not None
    ]
    pick = attrgetter(*names)
    failed = names.index("failed_variants")

    def columns(exchange: Exchange) -> Any:
        values = list(pick(exchange))
        values[failed] = " ".join(values[failed])
        for place, process in converted:
            if values[place] is not None:
                values[place] = process(values[place])
        return tuple(values) if compiled.positional else dict(zip(names, values, strict=True))

    # SQLite's driver takes and leaves the interpreter for each run of a statement, so that a thread which writes row by row
    # disturbs the one that answers requests as often.
    one, many = str(compiled), ""
    if dialect.name == "sqlite":
        row = f"({', '.join('?' * len(names))})"
        many = one.replace(row, ", ".join([row] * ROWS_IN_ONE))
    return _Insertion(one, many, columns)


def _processor(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What makes a database's value of a column's; None where it is the same."""
    if isinstance(kind, Boolean):
        return None  # drivers take them as they are; the check that they are some is for callers without types
    if isinstance(kind, UtcDateTime) and dialect.name == "sqlite":
        return _sqlite_time
    if isinstance(kind, ModelText):
        return ModelText.storable
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _sqlite_time(value: datetime) -> str:
    """As SQLAlchemy writes it, at a quarter of the cost."""
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(" ", "microseconds")[:-6]


def _exchange(row: Row[Any]) -> Exchange:
    values = {name: getattr(row, name) for name in _EXCHANGE_FIELDS}
    values["failed_variants"] = tuple(values["failed_variants"].split())
    return Exchange(**values)

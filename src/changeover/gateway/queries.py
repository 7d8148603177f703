"""The query that every gateway makes all the time: has anything changed?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, literal, select

from changeover.store.schema import applied, deployments, rollouts, routes


@dataclass(frozen=True)
class Seen:
    """What tells whether a snapshot is still true."""

    routes: int = 0
    """Newest revision of any task, 0 before the first."""
    applied: int = 0
    """Newest revision of the declarations, 0 before the first."""
    running: tuple[tuple[str, datetime], ...] = ()
    """Deployments that shall run, and when their rows last changed."""


# One statement, made once: at ten times a second what surrounds a query costs more than the query.
_LOOK = (
    select(
        select(func.coalesce(func.max(routes.c.revision), 0)).scalar_subquery().label("routes"),
        select(func.coalesce(func.max(applied.c.revision), 0)).scalar_subquery().label("applied"),
        deployments.c.name,
        deployments.c.updated_at,
    )
    .select_from(select(literal(1)).subquery().outerjoin(deployments, deployments.c.desired == "running"))
    .order_by(deployments.c.name)
)


def exchange_rollouts(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Those of some rollouts that exchange engines."""
    rows = connection.execute(select(rollouts.c.id, rollouts.c.plan).where(rollouts.c.id.in_(list(ids))))
    return {row.id for row in rows if row.plan.get("exchange")}


def look(connection: Connection) -> Seen:
    """See what is newest of everything that a gateway answers by."""
    rows = connection.execute(_LOOK).all()
    running = tuple((row.name, row.updated_at) for row in rows if row.name is not None)
    return Seen(routes=rows[0].routes, applied=rows[0].applied, running=running)

"""The newest rows of each of many tasks, in one statement: what a page of all tasks asks, whatever it asks of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Table, bindparam, func, select

from changeover.store.schema import routes

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every row."""
Among = Callable[[FromClause], Sequence[ColumnElement[bool]]]
"""Which rows count, of the table under any name."""


def newest_of_each(
    table: Table, at: str, most: int, columns: Sequence[ColumnElement[Any]], among: Among
) -> Select[Any]:
    """Select from the newest rows of each task: `newest_asked` says of which, and since when.

    For each task the moment of its `most`th newest row is looked up in the table's index of task and moment, and then the
    rows from there on: neither database reads any others. Make it once: that costs as much as to ask it.

    Args:
        table: Has a column `task`, and an index of it and the moment.
        at: Its column of the moment.
        most: Rows of each task; of several that are of the same moment as the last one, all.
        columns: What to select.
        among: Which rows count.
    """
    asked = select(routes.c.task).where(routes.c.task.in_(bindparam("tasks", expanding=True))).distinct().subquery()
    each = table.alias()
    since = bindparam("since", type_=table.c[at].type)
    last = (
        select(each.c[at])
        .where(each.c.task == asked.c.task, each.c[at] >= since, *among(each))
        .order_by(each.c[at].desc())
        .offset(most - 1)
        .limit(1)
        .scalar_subquery()
    )
    first = select(asked.c.task, func.coalesce(last, since).label("since")).subquery()
    here = table.c.task == first.c.task
    return select(*columns).select_from(first.join(table, here & (table.c[at] >= first.c.since))).where(*among(table))


def newest_asked(tasks: Collection[str], since: datetime) -> dict[str, Any]:
    """What `newest_of_each` is asked with: tasks that have a route, and the moment before which no row counts."""
    return {"tasks": list(tasks), "since": since}

"""Queries that delete what callers said and got once its time is over, and give its space back; never usage counters."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from changeover.store.schema import exchanges, feedback

LARGEST_BATCH = 500


def recorded_tasks(connection: Connection) -> list[str]:
    """Names of all tasks that have exchanges, those that are not declared any more included."""
    # One step down the index for each name: `distinct` would read all of it.
    found: list[str] = []
    query = select(exchanges.c.task).order_by(exchanges.c.task).limit(1)
    name = connection.execute(query).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(query.where(exchanges.c.task > name)).scalar()
    return found


def delete_exchanges_before(connection: Connection, task: str, before: datetime, most: int = LARGEST_BATCH) -> int:
    """Delete the oldest exchanges of a task that began before a moment, content and all.

    Args:
        connection: A transaction.
        task: Its name.
        before: What began at this moment or later stays.
        most: Rows, at most `LARGEST_BATCH`; the caller comes again for more.

    Returns:
        How many were deleted; fewer than `most` means that none is left.
    """
    _overwrite(connection)
    old = (
        select(exchanges.c.id)
        .where(exchanges.c.task == task, exchanges.c.started_at < before)
        .order_by(exchanges.c.started_at)
        .limit(min(most, LARGEST_BATCH))
    )
    return connection.execute(delete(exchanges).where(exchanges.c.id.in_(old))).rowcount


def rated_tasks(connection: Connection) -> list[str]:
    """Names of all tasks of whose answers callers have said something."""
    return list(connection.execute(select(feedback.c.task).distinct().order_by(feedback.c.task)).scalars())


def delete_feedback_before(connection: Connection, task: str, before: datetime, most: int = LARGEST_BATCH) -> int:
    """Delete the oldest feedback on a task's answers. As `delete_exchanges_before`."""
    _overwrite(connection)
    old = (
        select(feedback.c.id)
        .where(feedback.c.task == task, feedback.c.at < before)
        .order_by(feedback.c.at)
        .limit(min(most, LARGEST_BATCH))
    )
    return connection.execute(delete(feedback).where(feedback.c.id.in_(old))).rowcount


def give_back_space(connection: Connection, most_pages: int) -> int:
    """Shrink a database file by pages that nothing uses; gives by how many.

    SQLite does so only in a file that was made for it (`auto_vacuum`); in others the pages are used again by new rows.
    PostgreSQL cleans up after itself.
    """
    if connection.dialect.name != "sqlite" or _pragma(connection, "auto_vacuum") != 2:
        return 0
    before = _pragma(connection, "freelist_count")
    driver: Any = connection.connection.driver_connection
    # Each step of the statement frees one page, and there are steps only while somebody fetches.
    driver.execute(f"PRAGMA incremental_vacuum({int(most_pages)})").fetchall()
    return before - _pragma(connection, "freelist_count")


def _overwrite(connection: Connection) -> None:
    """What is deleted is overwritten in the file, and not only forgotten: it was somebody's text."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

"""Every query on declarations as they were applied: the newest row is what gateways answer by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from changeover.core.digest import sha256_value
from changeover.core.errors import ConfigError
from changeover.store.schema import applied
from changeover.tasks.declarations import Task
from changeover.tasks.queries import current_routes


@dataclass(frozen=True, kw_only=True)
class Applied:
    """Every task as it was declared at one moment. Never edited."""

    revision: int
    document: Mapping[str, Any]
    """See `document_of`."""
    digest: str
    actor: str
    changes: Sequence[Mapping[str, Any]]
    """What it changed, as people were told."""
    created_at: datetime


def latest_applied_revision(connection: Connection) -> int:
    """Number of the newest declarations, 0 before the first."""
    return connection.execute(select(func.coalesce(func.max(applied.c.revision), 0))).scalar_one()


def newest_applied(connection: Connection) -> Applied | None:
    """The newest declarations; None before the first."""
    row = connection.execute(select(applied).order_by(applied.c.revision.desc()).limit(1)).first()
    if row is None:
        return None
    return Applied(
        revision=row.revision,
        document=row.document,
        digest=row.digest,
        actor=row.actor,
        changes=row.changes,
        created_at=row.created_at,
    )


def removed_tasks(connection: Connection) -> frozenset[str]:
    """Tasks with a route that the newest declarations do not hold: nobody is answered, until they come back."""
    newest = newest_applied(connection)
    tasks: Any = None if newest is None else newest.document.get("tasks")
    if not isinstance(tasks, dict):
        return frozenset()  # Nothing was applied yet, or by another version: then nothing is known to be gone.
    return frozenset(current_routes(connection).keys() - tasks.keys())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def append_applied(
    connection: Connection,
    document: Mapping[str, Any],
    *,
    actor: str,
    changes: Sequence[Mapping[str, Any]],
    now: datetime,
) -> int:
    """Write declarations, and return their number. Every gateway answers by them from the commit on."""
    values = {
        "document": dict(document),
        "digest": sha256_value(document),
        "actor": actor,
        "changes": [dict(change) for change in changes],
        "created_at": now,
    }
    return connection.execute(insert(applied).values(values).returning(applied.c.revision)).scalar_one()


def document_of(tasks: Mapping[str, Task], root: Path, tools: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Every task as a JSON value, paths relative to `root`, and the digest of every tool where there are any.

    Raises:
        ConfigError: A number has no JSON form.
    """
    document: dict[str, Any] = {"tasks": {name: task.document(root) for name, task in sorted(tasks.items())}}
    return {**document, "tools": dict(sorted(tools.items()))} if tools else document


def tools_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Digest of every tool as it was applied, by name: see `document_of`."""
    return dict(document.get("tools") or {})


def tasks_of(document: Mapping[str, Any], root: Path) -> dict[str, Task]:
    """Read what `document_of` wrote.

    Raises:
        ConfigError: Another version wrote it, and this one does not understand it.
    """
    tasks: Any = document.get("tasks")
    if not isinstance(tasks, dict):
        raise ConfigError("The declarations were applied by another version of changeover: no `tasks`.")
    return {name: Task.from_document(name, each, root) for name, each in tasks.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

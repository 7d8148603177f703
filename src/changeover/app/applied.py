"""Tasks as they were applied last: what gateways answer by, with the project's directory put back before their files."""

from __future__ import annotations

from pathlib import Path

from changeover.core.errors import ConfigError
from changeover.store.engine import Store
from changeover.tasks.applied import newest_applied, tasks_of
from changeover.tasks.declarations import Task


def applied_tasks(store: Store, root: Path) -> dict[str, Task]:
    """Tasks by name; none where nothing was applied yet, or where another version wrote what was.

    Raises:
        StoreError: The store cannot be used.
    """
    with store.read() as connection:
        applied = newest_applied(connection)
    try:
        return {} if applied is None else tasks_of(applied.document, root)
    except ConfigError:
        return {}

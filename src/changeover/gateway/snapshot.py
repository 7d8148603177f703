"""What the gateway knows of routes: an immutable snapshot in memory, replaced when a newer revision is seen.

If the store is gone, the last snapshot goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from changeover.core.errors import StoreError
from changeover.serving.queries import load_variants
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import Task
from changeover.tasks.queries import current_routes, latest_revision
from changeover.tasks.routes import Route

log = logging.getLogger(__name__)

POLL_S = 0.1
"""A new revision is followed within this time and one query."""


@dataclass(frozen=True)
class LiveTask:
    """A task as it is answered under one route revision."""

    task: Task
    route: Route
    variants: Mapping[str, Variant]


@dataclass(frozen=True)
class Snapshot:
    """All tasks under the newest revisions that were seen."""

    revision: int
    tasks: Mapping[str, LiveTask]


class Snapshots:
    """The current snapshot, and how it follows the store."""

    def __init__(self, store: Store, tasks: Mapping[str, Task]) -> None:
        self._store = store
        self._tasks = tasks
        self.current = Snapshot(revision=0, tasks={})
        self._remembered: Mapping[str, Variant] = {}
        self.stale = False
        """The store could not be read when last tried."""

    def refresh(self) -> bool:
        """Look at the store; True if there was a newer revision. Blocks for two short queries."""
        with self._store.read() as connection:
            revision = latest_revision(connection)
            if revision == self.current.revision:
                return False
            routes = current_routes(connection)
            wanted = {variant for route in routes.values() for variant in route.variants()}
            variants = load_variants(connection, wanted)
        self.current = Snapshot(
            revision=revision,
            tasks={
                name: LiveTask(task, route, {id: variants[id] for id in route.variants()})
                for name, route in routes.items()
                if (task := self._tasks.get(name)) is not None
            },
        )
        return True

    async def follow(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await asyncio.to_thread(self.refresh)
                self.stale = False
            except StoreError as exc:
                if not self.stale:
                    log.warning("routes: answering from revision %d: %s", self.current.revision, exc)
                self.stale = True
            await asyncio.sleep(POLL_S)

    def remember(self, id: str) -> None:
        """Read a variant that no route names, for an evaluation. Blocks for one short query."""
        if id not in self._remembered:
            with self._store.read() as connection:
                found = load_variants(connection, [id])
            # Variants never change, so nothing here grows old; evaluations name a handful.
            self._remembered = {**self._remembered, **found}

    def remembered(self, id: str) -> Variant | None:
        return self._remembered.get(id)

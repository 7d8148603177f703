"""What the gateway knows of tasks, routes and deployments: an immutable snapshot in memory, replaced when they change.

If the store is gone, the last snapshot goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from changeover.core.clock import Clock
from changeover.core.errors import ConfigError, StoreError
from changeover.core.threads import in_thread
from changeover.gateway.choose import order
from changeover.gateway.queries import Seen, exchange_rollouts, look
from changeover.gateway.violations import Checks
from changeover.gateway.ways import Turn, Way
from changeover.serving.bundles import Bundle, EnginePart
from changeover.serving.queries import Deployment, all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.store.glance import Glance
from changeover.tasks.applied import newest_applied, tasks_of
from changeover.tasks.declarations import ScorerDeclaration, Task, TaskDeclaration
from changeover.tasks.queries import current_routes
from changeover.tasks.routes import Route, Side

log = logging.getLogger(__name__)

POLL_S = 0.1
"""A change is followed within this time and a few short queries."""
BAKES_LATE = timedelta(minutes=5)
"""Answers are looked at for so long after the bake time should be over."""
DIRECT = "@"
"""Before a deployment's name: the task under which it is called, and recorded, where a key may name it."""


@dataclass(frozen=True)
class LiveTask:
    """A task as it is answered under one route revision."""

    task: Task
    route: Route
    variants: Mapping[str, Variant]
    exchange: bool = False
    """The route was written by a rollout that exchanges engines: memory does not hold the incumbent's and the former's."""

    @cached_property
    def ways(self) -> Mapping[str, Way]:
        """The variants that may answer, by id, ready to be asked."""
        return {id: Way.of(variant, self.route.revision) for id, variant in self.variants.items()}

    @cached_property
    def only_turns(self) -> tuple[Turn, ...] | None:
        """Whom to ask, in turn, where that is the same for every caller; None where callers are on two sides."""
        return None if self.route.candidate is not None else self.turns("incumbent")

    @cached_property
    def checks(self) -> Checks:
        """What its answers are looked at for, while somebody watches them."""
        return Checks(self.task.declared.guard.checks)

    def watched(self, at: datetime) -> bool:
        """Whether a rollout, or the bake time after one, may need to know how answers were at a moment."""
        route = self.route
        if route.candidate is not None:
            return True
        return route.former is not None and at < self._baked_at

    @cached_property
    def _baked_at(self) -> datetime:
        return self.route.created_at + timedelta(seconds=self.task.declared.bake_s) + BAKES_LATE

    def turns(self, chosen: Side) -> tuple[Turn, ...]:
        """Whom to ask, in turn, where a caller is on a side."""
        return tuple((side, self.ways[id]) for side, id in order(self.route, chosen))


@dataclass(frozen=True)
class Snapshot:
    """All tasks as they were applied last, under the newest route revisions that were seen."""

    revision: int
    """Of the routes."""
    tasks: Mapping[str, LiveTask]
    deployments: Mapping[str, LiveTask] = field(default_factory=dict[str, LiveTask])
    """Every deployment that shall run, by its name: for keys that may name one. No prompt, no parameters."""
    applied: int = 0
    """Revision of the declarations."""
    states: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of every deployment that shall run: what was last seen of it."""


class Snapshots:
    """The current snapshot, and how it follows the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: Seen = Seen()
        self._tasks: Mapping[str, Task] = {}
        self.current = Snapshot(revision=0, tasks={})
        self._remembered: Mapping[str, Variant] = {}
        self.stale_since: datetime | None = None
        """Since when the store cannot be read; None while it can."""

    @property
    def stale(self) -> bool:
        """The store could not be read when last tried."""
        return self.stale_since is not None

    def refresh(self) -> bool:
        """Look at the store; True if something had changed. Blocks for a short query, a few more after a change."""
        with self._store.read() as connection:
            seen = look(connection)
            if seen == self._seen:
                return False
            if seen.applied != self._seen.applied:
                self._read_declarations(connection)
            deployments, states = self.current.deployments, self.current.states
            if seen.running != self._seen.running:
                running = [row for row in all_deployments(connection) if row.desired == "running"]
                deployments = {row.name: _called_by_name(row) for row in running}
                states = {row.name: row.state for row in running}
            self.current = Snapshot(
                revision=seen.routes,
                tasks=_live_tasks(connection, self._tasks, self.current.tasks),
                deployments=deployments,
                applied=seen.applied,
                states=states,
            )
        self._seen = seen
        return True

    def _read_declarations(self, connection: Connection) -> None:
        applied = newest_applied(connection)
        if applied is None:
            return
        try:
            # Whoever answers reads no files: where they lie is nothing to this process.
            self._tasks = tasks_of(applied.document, Path())
        except ConfigError as exc:
            log.error("declarations: answering by the earlier ones, not by revision %d: %s", applied.revision, exc)

    async def follow(self) -> None:
        """Refresh for ever."""
        glance = Glance(self._store)
        while True:
            try:
                if glance.tells_news():
                    await in_thread(self.refresh)
                if self.stale_since is not None:
                    away = self._clock.now() - self.stale_since
                    log.warning("routes: the store is back after %.1f s", away.total_seconds())
                    self.stale_since = None
            except (StoreError, ConfigError) as exc:  # gone, or written by a newer version
                glance.forget()
                if self.stale_since is None:
                    self.stale_since = self._clock.now()
                    log.warning("routes: answering from revision %d: %s", self.current.revision, exc)
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


def _live_tasks(
    connection: Connection, tasks: Mapping[str, Task], known: Mapping[str, LiveTask]
) -> dict[str, LiveTask]:
    """Tasks that are declared and have a route. The route of a task that was taken out stays, and answers nobody.

    What has not changed stays as it is known: a switch of one task costs the others' requests no time.
    """
    routes = {name: route for name, route in current_routes(connection).items() if name in tasks}
    kept = {
        name: live
        for name, live in known.items()
        if name in routes and live.task is tasks[name] and live.route.revision == routes[name].revision
    }
    fresh = {name: route for name, route in routes.items() if name not in kept}
    if not fresh:
        return kept
    variants = {id: variant for live in known.values() for id, variant in live.variants.items()}
    missing = {id for route in fresh.values() for id in route.variants()} - set(variants)
    if missing:
        variants |= load_variants(connection, missing)
    exchanges = exchange_rollouts(connection, {route.rollout for route in fresh.values() if route.rollout is not None})
    made = {
        name: LiveTask(tasks[name], route, {id: variants[id] for id in route.variants()}, route.rollout in exchanges)
        for name, route in fresh.items()
    }
    return {**kept, **made}


def _called_by_name(row: Deployment) -> LiveTask:
    """A deployment as a task of its own, with nothing put before what the caller says."""
    name = f"{DIRECT}{row.name}"
    engine = EnginePart.from_document(row.engine)
    variant = Variant.of(name, row.name, Bundle(engine=engine, prompt_name="", prompt="", parameters={}))
    route = Route(
        revision=0,
        task=name,
        incumbent=variant.id,
        action="start",
        actor=row.created_by,
        reason="named by its caller",
        created_at=row.created_at,
    )
    task = Task(name=name, file=Path(), declared=_NO_TASK, prompt="", prompt_name="", dataset=Path())
    return LiveTask(task, route, {variant.id: variant})


_ANYTHING: dict[str, Any] = {"description": "", "prompt": "", "dataset": "", "first_incumbent": ""}
_NO_TASK = TaskDeclaration(**_ANYTHING, scorer=ScorerDeclaration(name="exact"))

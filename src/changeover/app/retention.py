"""Retention: a loop beside the gateway that deletes exchanges and feedback whose time is over, a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from changeover.core.clock import Clock
from changeover.core.errors import StoreError
from changeover.core.settings import RecordSettings
from changeover.core.threads import in_thread
from changeover.store.engine import Store
from changeover.tasks.declarations import Task
from changeover.tasks.retention import (
    LARGEST_BATCH,
    delete_exchanges_before,
    delete_feedback_before,
    give_back_space,
    rated_tasks,
    recorded_tasks,
)

log = logging.getLogger(__name__)

EVERY_S = 300.0
"""Between two looks for exchanges that are too old."""
PAUSE_S = 0.05
"""Between two batches, in which the recorder writes."""
LONG_S = 0.05
"""A transaction that takes longer makes the next one smaller: the recorder waits for it."""
PAGES = 2_000
"""Given back at once: 8 MiB."""


class Retention:
    """Deletes what is older than its task allows. One process of an installation runs it; several do no harm."""

    def __init__(
        self, store: Store, clock: Clock, records: RecordSettings, tasks: Callable[[], Mapping[str, Task]]
    ) -> None:
        """Prepare.

        Args:
            store: Where the exchanges are.
            clock: Says what is old.
            records: How long exchanges are kept whose task does not say, or is not declared any more.
            tasks: The declarations as they are now.
        """
        self._store = store
        self._clock = clock
        self._records = records
        self._tasks = tasks
        self._batch = LARGEST_BATCH
        self.deleted = 0
        """Exchanges, since the start."""

    async def run(self) -> None:
        """Delete until cancelled. A store that is gone is tried again."""
        failing = False
        while True:
            try:
                await self.sweep()
                failing = False
            except StoreError as exc:
                if not failing:
                    log.warning("retention: old exchanges stay for now: %s", exc)
                failing = True
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Delete everything that is too old now, and say how many exchanges that were.

        Raises:
            StoreError: The store refused; what was deleted before stays deleted.
        """
        total = 0
        for task in await in_thread(self._recorded):
            days = self.days(task)
            deleted = await self._sweep_task(task, days)
            if deleted:
                log.info(
                    "retention: deleted %d exchanges of %s older than %g days",
                    deleted,
                    task,
                    days,
                    extra={"task": task},
                )
            total += deleted
        for task in await in_thread(self._rated):
            await self._sweep_feedback(task)
        if total:
            await self._shrink()
        return total

    def days(self, task: str) -> float:
        """How long exchanges of a task are kept."""
        declared = self._tasks().get(task)
        own = None if declared is None else declared.declared.retention_days
        return self._records.retention_days if own is None else own

    async def _shrink(self) -> None:
        while True:
            if not await in_thread(self._give_back):
                return
            await asyncio.sleep(PAUSE_S)

    async def _sweep_task(self, task: str, days: float) -> int:
        total = 0
        while True:
            asked = self._batch
            deleted = await in_thread(partial(self._delete, task, days, asked))
            total += deleted
            self.deleted += deleted
            if deleted < asked:
                return total
            await asyncio.sleep(PAUSE_S)

    async def _sweep_feedback(self, task: str) -> None:
        """It is kept as long as exchanges are: a comment may quote them."""
        while True:
            if await in_thread(partial(self._delete_feedback, task)) < LARGEST_BATCH:
                return
            await asyncio.sleep(PAUSE_S)

    def _recorded(self) -> list[str]:
        with self._store.read() as connection:
            return recorded_tasks(connection)

    def _delete(self, task: str, days: float, most: int) -> int:
        before = self._clock.now() - timedelta(days=days)
        started = self._clock.monotonic()
        with self._store.append() as connection:
            deleted = delete_exchanges_before(connection, task, before, most)
        took = self._clock.monotonic() - started
        if took > LONG_S:
            self._batch = max(self._batch // 2, 1)
        elif took < LONG_S / 4:
            self._batch = min(self._batch * 2, LARGEST_BATCH)
        return deleted

    def _rated(self) -> list[str]:
        with self._store.read() as connection:
            return rated_tasks(connection)

    def _delete_feedback(self, task: str) -> int:
        before = self._clock.now() - timedelta(days=self.days(task))
        with self._store.append() as connection:
            return delete_feedback_before(connection, task, before)

    def _give_back(self) -> int:
        with self._store.append() as connection:
            return give_back_space(connection, PAGES)

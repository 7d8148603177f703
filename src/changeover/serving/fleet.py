"""The fleet: brings what runs in line with the deployments that were asked for, and writes down what it sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, EngineError, StoreError
from changeover.library.catalogue import Catalogue
from changeover.serving.deployments import plan_from_row
from changeover.serving.queries import ASKED_AGAIN, Deployment, all_deployments, note_state
from changeover.serving.supervisor import DeploymentStatus, Supervisor
from changeover.serving.upstream import Upstream
from changeover.store.engine import Store

log = logging.getLogger(__name__)

TICK_S = 0.25
DRAIN_S = 600.0
"""Longest wait for the requests of an engine that shall stop. By count, not by clock: this is only against a leak."""


class Fleet:
    """All engines of this installation. The gateway asks it for addresses."""

    def __init__(
        self,
        store: Store,
        load_catalogue: Callable[[], Catalogue],
        cache: Path,
        supervisor: Supervisor,
        clock: Clock,
        *,
        leave: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            store: Holds the deployments that were asked for.
            load_catalogue: Reads the cards as they are now; called in a thread.
            cache: Where weights are.
            supervisor: Runs the engines.
            clock: Dates what is written down.
            leave: Awaited before an engine is stopped: returns once no other process has a request there.
        """
        self._store = store
        self._leave = leave
        self._load_catalogue = load_catalogue
        self._cache = cache
        self._supervisor = supervisor
        self._clock = clock
        self._started: set[str] = set()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[str, DeploymentStatus] = {}

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
        return self._supervisor.upstream(name)

    def is_ready(self, name: str) -> bool:
        return self._supervisor.upstream(name) is not None

    def statuses(self) -> list[DeploymentStatus]:
        """What the supervisor sees now."""
        return self._supervisor.statuses()

    async def run(self) -> None:
        """Reconcile for ever. A store that is gone changes nothing: what runs goes on running."""
        while True:
            try:
                await self.reconcile()
            except StoreError as exc:
                log.warning("deployments: %s", exc)
            await asyncio.sleep(TICK_S)

    async def reconcile(self) -> None:
        """Look once: start, stop, write down."""
        rows = await asyncio.to_thread(self._rows)
        for row in rows:
            waits = row.name not in self._started or (row.state == ASKED_AGAIN and self._gave_up(row.name))
            if row.desired == "running" and waits and row.name not in self._stopping:
                await self._start(row)
            elif row.desired == "stopped" and row.name in self._started:
                self._started.discard(row.name)
                self._stopping[row.name] = asyncio.create_task(self._stop(row.name))
        await asyncio.to_thread(self._note, [row.name for row in rows])

    def _gave_up(self, name: str) -> bool:
        states = {status.name: status.state for status in self._supervisor.statuses()}
        return states.get(name, "failed") == "failed"

    async def _start(self, row: Deployment) -> None:
        self._started.add(row.name)
        try:
            # Read anew: a card may have been written since this process began.
            catalogue = await asyncio.to_thread(self._load_catalogue)
            await self._supervisor.ensure(plan_from_row(row, catalogue, self._cache))
        except ChangeoverError as exc:
            # It cannot even be planned: say so in its row and leave the others alone.
            await asyncio.to_thread(self._note_failure, row.name, exc.message)

    async def _stop(self, name: str) -> None:
        try:
            await self._supervisor.drain(name, DRAIN_S)
            if self._leave is not None:
                await self._leave(name)
            await self._supervisor.stop(name, drain_s=0)
        except EngineError:
            pass  # it was never started: there is nothing to stop
        finally:
            del self._stopping[name]

    def _rows(self) -> list[Deployment]:
        with self._store.read() as connection:
            return all_deployments(connection)

    def _note(self, names: list[str]) -> None:
        """Write states that changed since they were last written."""
        fresh = {status.name: status for status in self._supervisor.statuses() if status.name in names}
        changed = [status for name, status in fresh.items() if self._differs(self._seen.get(name), status)]
        if not changed:
            return
        with self._store.write() as connection:
            for status in changed:
                note_state(
                    connection,
                    status.name,
                    state=status.state,
                    detail=status.detail,
                    address=status.address,
                    pid=status.pid,
                    restarts=status.restarts,
                    memory_bytes=status.memory_bytes,
                    now=self._clock.now(),
                )
        self._seen = fresh

    def _note_failure(self, name: str, reason: str) -> None:
        with self._store.write() as connection:
            note_state(
                connection,
                name,
                state="failed",
                detail=reason,
                now=self._clock.now(),
            )

    @staticmethod
    def _differs(before: DeploymentStatus | None, now: DeploymentStatus) -> bool:
        """Whether a change is worth a write: memory that moves by a few per cent is not."""
        if before is None:
            return True
        if (before.state, before.detail, before.pid, before.restarts) != (now.state, now.detail, now.pid, now.restarts):
            return True
        return abs((before.memory_bytes or 0) - (now.memory_bytes or 0)) > 0.1 * (before.memory_bytes or 1)

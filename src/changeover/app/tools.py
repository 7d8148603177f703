"""Tools in a gateway: what answers for them is loaded, with its libraries, once a project has some."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from changeover.app.applied_tools import AppliedTools
from changeover.app.installation import Installation
from changeover.core.errors import StoreError
from changeover.core.threads import in_thread
from changeover.gateway.admit import Admission
from changeover.gateway.door import Door
from changeover.gateway.http import Reply
from changeover.gateway.keys import Keyring
from changeover.gateway.metrics import Metrics
from changeover.gateway.snapshot import Snapshots
from changeover.gateway.tool_desk import ToolDesk
from changeover.gateway.visit import Visit
from changeover.tasks.declarations import Task
from changeover.tools.declarations import Tools
from changeover.tools.queries import any_job

log = logging.getLogger(__name__)

FOLLOW_S = 0.25
KNOWLEDGE = "knowledge"
"""In the state directory: what tools look things up in, indexed."""


class Desk(ToolDesk, Protocol):
    """`tools.desk.Desk`, which is loaded late."""

    async def run(self) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def stop(self) -> None: ...
    async def close(self) -> None: ...


class ToolService:
    """The door's desk for tools, and the loop that runs jobs."""

    def __init__(
        self,
        installation: Installation,
        snapshots: Snapshots,
        keyring: Keyring,
        metrics: Metrics,
        door: Callable[[], Door],
    ) -> None:
        self._installation = installation
        self._snapshots = snapshots
        self._keyring = keyring
        self._metrics = metrics
        self._door = door
        self._tools = AppliedTools(installation)
        self._places = Admission(installation.project.settings.jobs.at_once)
        self._opening = asyncio.Lock()
        self._desk: Desk | None = None
        self._stopped = False

    async def answer(self, visit: Visit, reply: Reply) -> None:
        """Answer one request. See `ToolDesk`."""
        desk = await self._opened()
        await desk.answer(visit, reply)

    async def load(self) -> None:
        """Read the tools, if there are any."""
        if await in_thread(self._wanted):
            await self._opened()

    async def run(self) -> None:
        """Follow what is applied, and run jobs. Where there are neither tools nor jobs, this only looks for them."""
        running: asyncio.Task[None] | None = None
        try:
            while running is None or not running.done():
                if self._desk is None and self._installation.project.tools.is_dir():
                    await self._opened()
                if self._desk is not None:
                    running = running or asyncio.create_task(self._desk.run())
                    if self._tools.revision != self._snapshots.current.applied:
                        with contextlib.suppress(StoreError):  # said by who follows the routes
                            await in_thread(self._follow)
                await asyncio.sleep(FOLLOW_S)
            running.result()
        finally:
            if running is not None:
                running.cancel()
                await asyncio.wait([running])

    def state(self) -> dict[str, Any]:
        """How it is doing, for `/healthz`."""
        if self._desk is None:
            return {}
        return {
            "tools": len(self._tools.current),
            "tools_declarations": self._tools.revision,
            "tools_running": self._places.in_flight,
            **self._desk.state(),
        }

    @property
    def under_way(self) -> int:
        """Runs."""
        return self._places.in_flight

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopped = True
        if self._desk is not None:
            self._desk.stop()

    async def close(self) -> None:
        """Let go of the processes that read documents."""
        if self._desk is not None:
            await self._desk.close()

    def _wanted(self) -> bool:
        if self._installation.project.tools.is_dir():
            return True
        with self._installation.store.read() as connection:
            return any_job(connection)

    def _follow(self) -> None:
        self._tools.follow(self._snapshots.current.applied)

    def _tasks(self) -> Mapping[str, Task]:
        return {name: live.task for name, live in self._snapshots.current.tasks.items()}

    async def _opened(self) -> Desk:
        async with self._opening:
            if self._desk is None:
                # Templates, schemas and forms are large to load.
                make_desk = await in_thread(_load)
                await in_thread(self._follow)
                self._desk = self._made(make_desk)
                if self._stopped:
                    self._desk.stop()
            return self._desk

    def _made(self, make_desk: Callable[..., Desk]) -> Desk:
        installation = self._installation
        return make_desk(
            door=self._door(),
            store=installation.store,
            clock=installation.clock,
            settings=installation.project.settings.jobs,
            keyring=self._keyring,
            tools=self._current,
            tasks=self._tasks,
            cache=installation.project.state / KNOWLEDGE,
            places=self._places,
            told=self._metrics.ran_tool,
        )

    def _current(self) -> Tools:
        return self._tools.current


def _load() -> Callable[..., Desk]:
    make_desk: Callable[..., Desk] = import_module("changeover.tools.open").make_desk
    return make_desk

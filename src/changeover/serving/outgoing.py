"""Processes whose place another one has taken: they get nothing new, answer their last requests, and are ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from changeover.serving.life import Life

log = logging.getLogger(__name__)


class Outgoing:
    """Those of one deployment. Its keeper hands them over."""

    def __init__(self, deployment: str, leave: Callable[[str], Awaitable[None]]) -> None:
        self._deployment = deployment
        self._leave = leave
        self._lives: dict[asyncio.Task[None], Life] = {}
        """By what ends them."""

    @property
    def in_flight(self) -> int:
        """Requests that they have not answered yet."""
        return sum(life.in_flight for life in self._lives.values())

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What ends them; whoever cancels one ends its process at once."""
        return list(self._lives)

    def take(self, life: Life, drain_s: float | None) -> None:
        """End a process once it has answered, or after `drain_s` if that is given. Returns at once."""
        task = asyncio.create_task(self._retire(life, drain_s))
        self._lives[task] = life
        task.add_done_callback(self._lives.pop)

    async def ended(self) -> None:
        """Wait until none is left."""
        if self._lives:
            await asyncio.wait(self.tasks)

    async def drained(self, life: Life, drain_s: float | None) -> None:
        """Wait until a process that gets nothing new has answered, here and for every other process that asks it."""
        try:
            async with asyncio.timeout(drain_s):
                await life.idle()
                for name in (self._deployment, *life.ways):
                    await self._leave(name)
        except TimeoutError:
            log.warning("%s: stopped with %d requests in flight", self._deployment, life.in_flight)

    async def _retire(self, life: Life, drain_s: float | None) -> None:
        try:
            await self.drained(life, drain_s)
        finally:
            await life.end()

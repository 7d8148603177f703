"""Ending a run before it has ended by itself: somebody says so, and what was found so far is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from threading import Lock
from typing import TypeVar

Item = TypeVar("Item")


class Stopped(Exception):
    """Somebody ended it; says who."""


class Stop:
    """Somebody's word that a run shall end now. It may be said in any thread; one event loop hears it."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._said: str | None = None
        self._hearing: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def said(self) -> str | None:
        """Who ended it, and why; None: nobody."""
        return self._said

    def say(self, why: str) -> None:
        """End it. Who says so first is who did."""
        with self._mutex:
            self._said = self._said or why
            if self._hearing is not None and not self._hearing[0].is_closed():
                self._hearing[0].call_soon_threadsafe(self._hearing[1].set)

    def check(self) -> None:
        """Go on only if nobody has ended it.

        Raises:
            Stopped: Somebody has.
        """
        if self._said is not None:
            raise Stopped(self._said)

    async def heard(self) -> None:
        """Wait until somebody ends it."""
        with self._mutex:
            self._hearing = asyncio.get_running_loop(), asyncio.Event()
        if self._said is None:
            await self._hearing[1].wait()


async def until(items: AsyncGenerator[Item], stop: Stop | None) -> AsyncGenerator[Item]:
    """The same items, as long as nobody ends it; what is under way for the next one is given up then.

    Raises:
        Stopped: Somebody has.
    """
    if stop is None:
        async for item in items:
            yield item
        return
    told = asyncio.create_task(stop.heard())
    try:
        while True:
            stop.check()
            coming = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({coming, told}, return_when=asyncio.FIRST_COMPLETED)
            finally:  # also of whoever is cancelled here: items that are still coming can be closed by nobody
                if given_up := not coming.done():
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
            if given_up:
                stop.check()
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        told.cancel()

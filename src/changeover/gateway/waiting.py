"""Between stages 4 and 5: where nobody can answer yet, requests stand in line, and are let go in the order they came.

Each is held until an engine of its task can answer. Where engines are exchanged, because memory does not hold two, or one that
was unloaded is loaded again, that is until the request's own deadline: the engine is on its way. Elsewhere it is
`gateway.ready_wait_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from changeover.core.clock import Clock
from changeover.core.errors import NotReadyError

POLL_S = 0.02
FOLLOW_S = 0.5
"""A route that this process does not know of yet may have brought the wait about: so long it waits in any case."""
RETRY_S = 5.0
"""What callers are told that find the line full, or do not get through it in time."""

Outlook = Literal["ready", "coming", "absent"]
"""Somebody can answer now; an engine is exchanged or loaded again and somebody will; neither is known."""


@dataclass(eq=False, kw_only=True)
class _Waiter:
    task: str
    look: Callable[[], Outlook]
    until: float
    """Monotonic, seconds."""
    coming_at: float
    """When somebody was last known to be on the way; at first the time that it came itself."""
    called: asyncio.Future[None]


class Line:
    """The requests of one process that wait for an engine."""

    def __init__(self, most: int, ready_wait_s: float, clock: Clock) -> None:
        """Set up.

        Args:
            most: Requests that may wait at once.
            ready_wait_s: For how long one waits of whose engine nothing is known.
            clock: The time.
        """
        self._most = most
        self._patience_s = max(ready_wait_s, FOLLOW_S)
        self._clock = clock
        self._waiters: dict[_Waiter, None] = {}
        self._pacing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, task: str, look: Callable[[], Outlook], until: float) -> None:
        """Wait until somebody can answer.

        Args:
            task: Its name, for messages.
            look: How things stand; asked all the time.
            until: Monotonic seconds at which the caller's time is over.

        Raises:
            NotReadyError: The line is full, or nobody could answer in time.
        """
        if len(self._waiters) >= self._most:
            raise NotReadyError(
                f"{len(self._waiters)} requests wait for an engine already, and no more may (`gateway.max_waiting`). "
                f"Try again in {RETRY_S:g} s.",
                retry_after_s=RETRY_S,
            )
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        now = self._clock.monotonic()
        waiter = _Waiter(task=task, look=look, until=until, coming_at=now, called=called)
        self._waiters[waiter] = None
        if self._pacing is None:
            self._pacing = asyncio.create_task(self._pace())
        try:
            await called
        finally:
            del self._waiters[waiter]

    async def _pace(self) -> None:
        """Look at the line, oldest first, until nobody stands in it."""
        try:
            while self._waiters:
                now = self._clock.monotonic()
                for waiter in list(self._waiters):
                    if not waiter.called.done():
                        self._see_to(waiter, now)
                await asyncio.sleep(POLL_S)
        finally:
            self._pacing = None

    def _see_to(self, waiter: _Waiter, now: float) -> None:
        try:
            outlook = waiter.look()
        except Exception as exc:  # the edge of one request: nobody else in line must wait for ever because of it
            waiter.called.set_exception(exc)
            return
        if outlook == "ready":
            waiter.called.set_result(None)
            return
        if outlook == "coming":
            waiter.coming_at = now
        if now >= waiter.until:
            waiter.called.set_exception(_too_long(waiter.task, coming=outlook == "coming"))
        elif now >= waiter.coming_at + self._patience_s:
            waiter.called.set_exception(not_ready(waiter.task))


def not_ready(task: str) -> NotReadyError:
    """The error for a request that nobody can answer."""
    return NotReadyError(
        f"No model is ready to answer `{task}` yet. Try again shortly; `changeover status` shows why.", retry_after_s=2
    )


def _too_long(task: str, *, coming: bool) -> NotReadyError:
    if not coming:
        return not_ready(task)
    return NotReadyError(
        f"The engine of `{task}` is being exchanged or loaded, and was not ready within the time that the task gives a "
        "request. "
        f"Try again in {RETRY_S:g} s.",
        retry_after_s=RETRY_S,
    )

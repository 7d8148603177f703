"""One look at all requests under way, ten times a second: who has run out of time.

A timer for each request would cost as much as a good part of answering it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

LOOK_S = 0.1


class Timed(Protocol):
    """A request under way."""

    deadline: float
    """Loop time."""
    late: bool
    """Set when its deadline has passed and its task is cancelled for it."""
    task: asyncio.Task[None] | None


@dataclass(slots=True)
class Watch:
    """All requests under way."""

    _requests: set[Timed] = field(default_factory=set[Timed])
    _timer: asyncio.TimerHandle | None = None

    def begin(self, request: Timed) -> None:
        """Watch a request until `end`."""
        self._requests.add(request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def end(self, request: Timed) -> None:
        self._requests.discard(request)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for request in self._requests:
            if now >= request.deadline and not request.late and request.task is not None:
                request.late = True
                request.task.cancel()
        self._timer = loop.call_later(LOOK_S, self._look) if self._requests else None

"""Time, as an object that is passed in, so that a test can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Where a room gets the time from."""

    def now(self) -> datetime:
        """Wall time, UTC, for rows and people."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward, for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clock. Its methods are the system's own functions: every request asks several times."""

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)


def span(seconds: float) -> str:
    """A length of time as people read it.

    >>> [span(12.3), span(125), span(4_320), span(100_000)]
    ['12 s', '2 m 05 s', '1 h 12 m', '1 d 3 h']
    """
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} m"
    return f"{hours // 24} d {hours % 24} h"

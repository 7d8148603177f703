"""Circuit breakers: a deployment that fails again and again is left alone for a while.

A breaker belongs to one start of an engine: one that was restarted begins with a clean record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from changeover.core.clock import Clock, SystemClock


@dataclass(slots=True)
class _State:
    failures: int = 0
    open_until: float = 0.0


class Breakers:
    """One breaker for each engine that was asked. Not thread safe: it lives in the event loop."""

    def __init__(self, *, failures: int, open_s: float, clock: Clock) -> None:
        """Set the limits.

        Args:
            failures: In a row, that open a breaker.
            open_s: How long it stays open; then one request may try.
            clock: Its monotonic time counts.
        """
        self._most = failures
        self._open_s = open_s
        self._clock = clock
        self._states: WeakKeyDictionary[Any, _State] = WeakKeyDictionary()
        self._calm = True
        """Nothing has failed: as every request finds it, mostly."""

    def closed_in(self, engine: object) -> float:
        """Seconds until an engine may be asked; 0: now. Who is told 0 for an open breaker has to ask, and to tell."""
        state = None if self._calm else self._states.get(engine)
        if state is None or state.failures < self._most:
            return 0.0
        left = state.open_until - self._clock.monotonic()
        if left > 0:
            return left
        # Until it is known how that goes, everybody else waits; whoever tries may never come back to tell.
        state.open_until = self._clock.monotonic() + self._open_s
        return 0.0

    def left(self, engine: object) -> float:
        """Seconds for which an engine is still left alone; asks nothing and changes nothing."""
        state = None if self._calm else self._states.get(engine)
        return 0.0 if state is None else max(state.open_until - self._clock.monotonic(), 0.0)

    def succeeded(self, engine: object) -> None:
        if not self._calm:
            self._states.pop(engine, None)
            self._calm = not self._states

    def failed(self, engine: object) -> None:
        state = self._states.get(engine)
        if state is None:
            state = self._states[engine] = _State()
            self._calm = False
        state.failures += 1
        if state.failures >= self._most:
            state.open_until = self._clock.monotonic() + self._open_s

    def is_open(self, engine: object) -> bool:
        """For people who look."""
        state = self._states.get(engine)
        return state is not None and state.failures >= self._most


class _NeverOpen(Breakers):
    """For requests that no breaker may stop, and that teach none."""

    def closed_in(self, engine: object) -> float:
        return 0.0

    def failed(self, engine: object) -> None:
        """Nothing is held against anybody."""


NEVER_OPEN = _NeverOpen(failures=1, open_s=1, clock=SystemClock())

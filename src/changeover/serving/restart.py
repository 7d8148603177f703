"""When a failed engine is started again: a pure decision over its failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
HEALTHY_S = 60.0
"""An engine that was ready for this long has recovered: its next failure counts as the first."""
CRASH_LOOP = 5
"""Failures without ever being ready, or leaks in a row that each came soon, after which nothing but a change will help."""
REMEMBERED = 20


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One end of an engine's process that nobody asked for."""

    at: float
    """Monotonic seconds."""
    ready_s: float | None
    """How long it had been ready; None: it never was."""
    reason: str
    leaked: bool = False
    """It was ended because it took more memory than it may."""


@dataclass(frozen=True)
class Restart:
    """Start it again after a while."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """Leave it down until somebody changes something."""

    reason: str


def next_restart(history: Sequence[Failure], now: float) -> Restart | GiveUp:
    """Decide what follows the last failure in `history`, oldest first.

    The delay doubles from 0.2 s to 10 s, counted from the failure itself, so time that passed since is taken off.
    Only an engine that never was ready is given up, or one that leaks as soon as it is: any other that was ready may be
    waiting for memory or a file to come back.

    Raises:
        ValueError: The history is empty.
    """
    if not history:
        raise ValueError("a restart follows a failure")
    last = history[-1]
    if len(history) >= CRASH_LOOP and all(failure.ready_s is None for failure in history):
        since = last.at - history[-CRASH_LOOP].at
        return GiveUp(f"gave up: {CRASH_LOOP} starts failed within {since:.0f} s and none became ready; {last.reason}")
    latest = history[-CRASH_LOOP:]
    if len(latest) == CRASH_LOOP and all(failure.leaked and not _recovered(failure) for failure in latest):
        return GiveUp(f"gave up: {CRASH_LOOP} times in a row, soon after it was ready, it {last.reason}")
    repeats = len(history) - 1 - _last_recovered(history)
    # The exponent is bounded before it is used: a history may grow past what a float can hold.
    delay_s = min(FIRST_DELAY_S * 2.0 ** min(repeats, 16), LONGEST_DELAY_S)
    return Restart(max(0.0, delay_s - (now - last.at)))


def remember(history: Sequence[Failure], failure: Failure) -> tuple[Failure, ...]:
    """Add a failure, and drop what no longer decides anything.

    When too many are kept, the oldest that never was ready goes first: that an engine once worked is not forgotten.
    """
    if _recovered(failure):
        return (failure,)
    kept = (*history, failure)
    if len(kept) <= REMEMBERED:
        return kept
    dropped = next((place for place, old in enumerate(kept) if old.ready_s is None), 0)
    return kept[:dropped] + kept[dropped + 1 :]


def _last_recovered(history: Sequence[Failure]) -> int:
    """Place of the last failure of a healthy engine; 0 without one, since the first failure counts as a first too."""
    return max((place for place, failure in enumerate(history) if _recovered(failure)), default=0)


def _recovered(failure: Failure) -> bool:
    return failure.ready_s is not None and failure.ready_s >= HEALTHY_S

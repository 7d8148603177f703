"""What keeps a lane of large engines from hanging, and from leaving processes behind."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

_PR_SET_CHILD_SUBREAPER = 36
_AGAIN_S = 5.0
ENDING_S = 10.0
"""That processes have to end by themselves once all tests are over."""


@contextmanager
def no_longer_than(seconds: float, what: str) -> Iterator[None]:
    """Fail with words for what takes longer. In the main thread only; it wakes an event loop too.

    A loop may hand the failure to some other task of its own: so it is raised again until it gets here.
    """

    def fail(*_: object) -> None:
        pytest.fail(f"{what} hangs: it is not over after {seconds:g} s.")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def ending_all() -> Iterator[list[str]]:
    """Have all that is started within come back to us when its parent ends, and end what lives at the end.

    Gives a list that says afterwards what that was.
    """
    before = {each.pid for each in _living()}
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    left: list[str] = []
    try:
        yield left
    finally:
        found = [each for each in _living() if each.pid not in before]
        _, alive = psutil.wait_procs(found, timeout=ENDING_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                left.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
                process.kill()


def _living() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if _lives(each)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""A process and all that it has started: what they hold in memory together, and the end of those that stay behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Family:
    """An engine's process and its descendants, as they were when somebody looked."""

    processes: Sequence[psutil.Process]
    """The engine's first. Each knows when it began, so that another of the same number is never taken for it."""
    bytes: int
    """Resident memory of all of them."""


def family_of(pid: int) -> Family | None:
    """Look at a process and its descendants; None if it is gone. Reads the kernel's list of processes: some ms."""
    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
    except psutil.Error:
        return None
    # What several share, as the copies of a forked process do, must not count for each of them.
    shares = _proportional if len(processes) > 1 else _resident
    return Family(processes=processes, bytes=sum(shares(each) for each in processes))


def session_of(pid: int) -> Sequence[psutil.Process]:
    """What is left of the session that a process led, though it has ended itself."""
    found: list[psutil.Process] = []
    for each in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(each) == pid:
                found.append(psutil.Process(each))
    return found


def end_rest(processes: Sequence[psutil.Process]) -> int:
    """Kill those of a family that still run, after the engine itself has ended. Gives how many there were."""
    left = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()  # psutil checks that it is still the same process
                left += 1
    return left


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    """Its share of what it has in common with others, where the kernel lets us see that; else all of it."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return _resident(process)

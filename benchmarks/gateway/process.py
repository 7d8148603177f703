"""Processes on a core of their own: started, watched and ended with everything they started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

STOP_S = 10.0
TAIL = 1_500
"""Characters of what a process said before it failed."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class NotStartedError(Exception):
    """A gateway did not come to answer; says why."""


@dataclass(frozen=True, kw_only=True)
class Cores:
    """Which core does what."""

    gateway: int
    load: int
    """The load generator's and the upstream's."""

    @classmethod
    def here(cls) -> Cores:
        """The first two that this process may use; with one alone, all share it."""
        mine = sorted(os.sched_getaffinity(0))
        return cls(gateway=mine[0], load=mine[min(1, len(mine) - 1)])


def on_core(core: int) -> Callable[[], None]:
    """What a child does before it becomes its program: stay on a core, and not outlive this process."""

    def settle() -> None:
        os.sched_setaffinity(0, {core})
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return settle


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, with bytecode: without it some of the peers import at every request."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, **(extra or {})}


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Tree:
    """A process with all its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def members(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_s(self) -> float:
        """User and system time so far, of all threads."""
        total = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """Resident sets, added up; what processes share counts for each."""
        total = 0
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / (1 << 20)


@contextmanager
def started(
    argv: Sequence[str], *, core: int, directory: Path, extra: Mapping[str, str] | None = None, pipe: bool = False
) -> Generator[subprocess.Popen[str]]:
    """Run a program for the time of the block; what it says goes to `said.log` in the directory.

    Args:
        argv: The program and its arguments.
        core: Where it and its children run.
        directory: Where it runs.
        extra: On top of this process's environment.
        pipe: Its standard input and output are pipes; its input ends before it is told to stop.
    """
    ends = subprocess.PIPE if pipe else subprocess.DEVNULL
    with (directory / "said.log").open("w") as log:
        process = subprocess.Popen(
            argv,
            cwd=directory,
            env=environment(extra),
            stdin=ends,
            stdout=ends if pipe else log,
            stderr=log,
            text=True,
            start_new_session=True,
            preexec_fn=on_core(core),  # this process has one thread: nothing is held that a fork could lose
        )
    try:
        yield process
    finally:
        _end(process)


def said(directory: Path) -> str:
    """The end of what a program wrote to its log."""
    return (directory / "said.log").read_text(errors="replace")[-TAIL:].strip()


def _end(process: subprocess.Popen[str]) -> None:
    members = Tree(process.pid).members() if process.poll() is None else []
    _close(process.stdin)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in members:  # psutil compares birthdays, so no stranger with the same number is hit
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    _close(process.stdout)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()

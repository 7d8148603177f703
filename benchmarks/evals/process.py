"""Running one tool once: its time, its processor time, its memory. Every run is bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCH = Path(__file__).with_name("launch.py")
TAIL = 2_000
"""Characters of what a run that failed said."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process to run."""

    argv: Sequence[str]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of this process's own."""
    expected: tuple[int, ...] = (0,)
    """Exit statuses that mean it did its work."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one or more processes took."""

    wall_s: float
    cpu_s: float
    """User and system, of the process and of all children it waited for."""
    memory_mb: float
    """Largest resident set of any one process."""
    began: float
    """Seconds since the epoch."""


class RunFailedError(Exception):
    """A tool ended otherwise than it should have, or did not end in time."""


def run(commands: Sequence[Command], *, log: Path, timeout_s: float) -> Usage:
    """Run processes one after the other.

    Raises:
        RunFailedError: One ended with another status than expected, or was still running at the deadline.
    """
    began, deadline = time.time(), time.monotonic() + timeout_s
    taken: list[dict[str, Any]] = []
    for command in commands:
        one = _run_one(command, log, deadline)
        taken.append(one)
        if one["status"] not in command.expected:
            said = log.read_text(errors="replace")[-TAIL:] if log.exists() else ""
            raise RunFailedError(f"{Path(command.argv[0]).name} ended with {one['status']}; it said last: {said}")
    return Usage(
        wall_s=sum(one["wall_s"] for one in taken),
        cpu_s=sum(one["cpu_s"] for one in taken),
        memory_mb=max(one["memory_mb"] for one in taken),
        began=began,
    )


def _run_one(command: Command, log: Path, deadline: float) -> dict[str, Any]:
    process = subprocess.Popen(
        (sys.executable, "-S", "-E", str(LAUNCH), str(log), *command.argv),
        cwd=command.cwd,
        env={**os.environ, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise RunFailedError(f"{Path(command.argv[0]).name} was still running at its deadline") from None
    return json.loads(said)

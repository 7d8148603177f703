"""Single keys from a terminal, without waiting for a line; nothing at all where there is none."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any


class Keys:
    """Reads keys while the block lasts, and leaves the terminal as it was."""

    def __init__(self) -> None:
        self.on = False
        """There is a terminal, and its keys are read."""
        self._before: list[Any] | None = None

    def __enter__(self) -> Keys:
        if sys.stdin.isatty() and sys.stderr.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # Ctrl-C goes on interrupting
            self.on = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, wait_s: float) -> str:
        """The next key; empty if none comes within the time."""
        if not self.on:
            time.sleep(wait_s)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], wait_s)
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") if ready else ""

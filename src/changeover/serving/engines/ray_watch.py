"""Waits for the end of a Ray application's process, and ends what of its cluster is left then. Run as a file, by that process.

The warden does the same; this is for when the warden itself was killed, and with it the process that started Ray. Some of
Ray's own processes do not notice that.

Usage: python ray_watch.py FOLDER < PIPE, where the pipe ends with the process, and FOLDER is the home of all of Ray's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOOKS = 20
EVERY_S = 0.5


def main() -> None:
    """Wait, and clear away until nothing is left."""
    folder = sys.argv[1]
    while os.read(0, 4096):
        pass
    for _ in range(LOOKS):
        left = _at_home_in(folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            break
        time.sleep(EVERY_S)
    shutil.rmtree(folder, ignore_errors=True)


def _at_home_in(folder: str) -> Sequence[int]:
    """Processes whose `HOME` the folder is: those that Ray started, and whatever they started, but this one."""
    wanted = f"HOME={folder}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


if __name__ == "__main__":
    main()

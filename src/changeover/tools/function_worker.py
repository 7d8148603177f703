"""The process that runs one Python function for `functions`, and nothing else.

Started as `python -I -B function_worker.py PARENT_PID`. Standard input is one JSON object: the file, the function, its
arguments and the bounds; standard output is one: `value`, or `error`. It imports the standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_ADDRESSES = 1 << 30
"""Beyond memory: addresses that libraries reserve and never use."""
_MOST_FILE_BYTES = 256 << 20
_MOST_OPEN_FILES = 64


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the function prints goes to standard error
    request: dict[str, Any] = json.load(sys.stdin.buffer)
    _lose_rights(int(sys.argv[1]), request)
    try:
        said = json.dumps({"value": _call(request)}, allow_nan=False)
    except MemoryError:
        said = json.dumps({"error": "it took more memory than it may"})
    except BaseException as exc:  # the function may raise, and end, as it likes
        said = json.dumps({"error": _explain(exc, request["file"])})
    answers.write(said.encode("utf-8", "backslashreplace"))
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # no thread and no clean-up of the function's keeps this process


def _call(request: dict[str, Any]) -> Any:
    sys.path.insert(0, os.path.dirname(request["file"]))
    function = runpy.run_path(request["file"])[request["call"]]
    return function(*request["arguments"], **request["keywords"])


def _explain(error: BaseException, file: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}{place}"


def _lose_rights(parent: int, request: dict[str, Any]) -> None:
    """Bounds of memory, time and files; no core files, no rights by set-user-id programs; killed with the parent."""
    memory, seconds = int(request["memory_bytes"]), int(request["seconds"]) + 1
    for kind, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, memory + _ADDRESSES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _MOST_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MOST_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    os.umask(0o077)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # its signal ends the process, whatever it does then
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


main()

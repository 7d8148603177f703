"""The process that runs one Python function for `functions`, and nothing else.

Started as `python -I -B -m changeover.tools.function_worker PARENT_PID`, in a directory of its own. Standard input is one
JSON object: the file, the function, its arguments, the folder that it may read and the bounds; standard output is one:
`value`, or `error`. It imports the standard library and `confine` only.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from changeover.tools.confine import Policy, confine

_ADDRESSES_BYTES = 1 << 30
"""That libraries reserve and never use."""
_MOST_FILE_BYTES = 256 << 20
_MOST_DESCRIPTORS = 64
_MAY = "a function reads its tool's folder, writes in the directory it starts in, and reaches nothing else"


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
        said = json.dumps({"error": _explain(exc, request["file"]), "refused": _refused(exc)})
    answers.write(said.encode("utf-8", "backslashreplace"))
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # no thread and no clean-up of the function's keeps this process


def _call(request: dict[str, Any]) -> Any:
    sys.path.insert(0, os.path.dirname(request["file"]))
    function = runpy.run_path(request["file"])[request["call"]]
    return function(*request["arguments"], **request["keywords"])


def _refused(error: BaseException) -> str | None:
    """What is wrong with a value, where the function says that it is the value that is wrong."""
    return " ".join(str(error).split())[:400] or None if isinstance(error, ValueError) else None


def _explain(error: BaseException, file: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f" (line {lines[-1]})" if lines else ""
    why = f"; {_MAY}" if isinstance(error, PermissionError) else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}{place}{why}"


def _lose_rights(parent: int, request: dict[str, Any]) -> None:
    """Keep the bounds, the folder and its own directory; see `confine`. It is killed with the parent."""
    policy = Policy(
        own_directory=Path.cwd(),
        readable=(Path(request["folder"]),),
        memory_bytes=int(request["memory_bytes"]),
        headroom_bytes=_ADDRESSES_BYTES,
        file_bytes=_MOST_FILE_BYTES,
        descriptors=_MOST_DESCRIPTORS,
        processor_s=int(request["seconds"]) + 1,
    )
    os.umask(0o077)
    confine(policy)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # its signal ends the process, whatever it does then
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


if __name__ == "__main__":
    main()

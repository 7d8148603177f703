"""One engine's process: started, told its configuration, waited for, stopped. It never outlives this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from changeover.core.errors import EngineError
from changeover.core.ids import new_secret
from changeover.core.sizes import GIB
from changeover.serving.backends import Launch
from changeover.serving.weights import size_of

MAX_LOG_BYTES: Final = 8 << 20
"""A log beyond this is put aside as `.1` when its engine is started the next time."""
REASON_BYTES: Final = 16 << 10
_INHERITED: Final = re.compile(
    r"PATH|PYTHONPATH|PYTHONHOME|PYTHONUTF8|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|LANG|LC_[A-Z]+|TZ|TMPDIR|(GGML|GOMP|OMP)_\w+"
)
"""What an engine may see of our environment: nothing that could hold a secret."""
_LLAMA_ERROR: Final = re.compile(r"^[\d.]+ E (.*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a child says when it can answer."""

    port: int
    secret: str
    note: str | None
    """Something about how it runs that a person should know."""


class EngineLog:
    """A deployment's log file. Whatever its engine writes is appended; only the last start explains a failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0

    @contextmanager
    def opened(self) -> Generator[int]:
        """A file descriptor for a new child's output, private to the user who runs us."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > MAX_LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._began = os.fstat(descriptor).st_size
            yield descriptor
        finally:
            os.close(descriptor)

    def reason(self, *, starting: bool) -> str | None:
        """The line since the last start that says most about its end; None if nothing was written.

        llama.cpp gives the cause of a failed start first, and then only says that everything failed. Everybody else,
        and llama.cpp later on, writes the cause last.
        """
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._began, 0 if starting else end - REASON_BYTES))
                text = file.read(REASON_BYTES).decode(errors="replace")
        except OSError:
            return None
        cause = _LLAMA_ERROR.search(text) if starting else None
        lines = [cause[1]] if cause else [line for line in text.splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else None


def ready_deadline_s(artifact: Path | None, base_s: float = 30.0, per_gib_s: float = 20.0) -> float:
    """How long an engine may take to become ready: in proportion to what it has to read."""
    return base_s + per_gib_s * weights_bytes(artifact) / GIB


def weights_bytes(artifact: Path | None) -> int:
    """What an engine has to read; 0 where that is nothing, or not here."""
    try:
        return size_of(artifact) if artifact is not None else 0
    except OSError:
        return 0


class ChildEngine:
    """One life of one engine's process."""

    def __init__(self, launch: Launch, log: EngineLog, environment: Mapping[str, str]) -> None:
        self._launch = launch
        self._log = log
        self._environment = {key: value for key, value in environment.items() if _INHERITED.fullmatch(key)}
        self._process: asyncio.subprocess.Process | None = None
        self._starting = True

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self, deadline_s: float) -> Ready:
        """Start the process and wait until it says that it can answer.

        The caller stops it in any case, whether this succeeds, fails or is cancelled.

        Raises:
            EngineError: It could not be started, ended, reported a failure, or took longer than `deadline_s`.
        """
        secret = new_secret("engine")
        process = await self._spawn()
        config = {**self._launch.config, "secret": secret, "parent": os.getpid()}
        try:
            async with asyncio.timeout(deadline_s):
                line = await _exchange(process, json.dumps(config))
                if not line:
                    raise EngineError(await self.wait())
        except TimeoutError:
            raise EngineError(self._explained(f"was not ready within {deadline_s:.3g} s")) from None
        except ValueError:
            raise EngineError(self._explained("said something endless instead of that it is ready")) from None
        ready = self._understood(line, secret)
        self._starting = False
        return ready

    async def wait(self) -> str:
        """Wait for the end of the process; say how it ended."""
        assert self._process is not None, "nothing to wait for before the start"
        status = await self._process.wait()
        if status < 0:
            return self._explained(f"was killed by {signal.Signals(-status).name}")
        return self._explained(f"ended with status {status}")

    async def stop(self, grace_s: float) -> None:
        """End the process: ask, wait for `grace_s`, then kill. Also kills when it is cancelled."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            _kill(process)
            await process.wait()
        finally:
            _kill(process)

    def kill(self) -> None:
        """End the process without asking."""
        if self._process is not None:
            _kill(self._process)

    async def _spawn(self) -> asyncio.subprocess.Process:
        try:
            with self._log.opened() as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._launch.argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env={**self._environment, **self._launch.environment},
                    start_new_session=True,  # Ctrl-C reaches us and not the engines: we still have answers to finish
                )
        except OSError as exc:
            raise EngineError(f"could not be started: {exc.strerror} (`{exc.filename}`)") from exc
        return self._process

    def _understood(self, line: bytes, secret: str) -> Ready:
        try:
            said: Any = json.loads(line)
        except ValueError:
            said = None
        fields = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        port, note, error = fields.get("port"), fields.get("note"), fields.get("error")
        if fields.get("ready") is True and type(port) is int and 0 < port < 65536:
            return Ready(port=port, secret=secret, note=note if isinstance(note, str) else None)
        if isinstance(error, str):
            raise EngineError(self._explained(f"could not start: {error.rstrip('.')}"))
        raise EngineError(self._explained("did not say on which port it is ready"))

    def _explained(self, what: str) -> str:
        reason = self._log.reason(starting=self._starting)
        return what if reason is None or reason in what else f"{what}; its log says: {reason}"


async def _exchange(process: asyncio.subprocess.Process, config: str) -> bytes:
    """Hand over the configuration; get the first line back, empty if the process ended without one.

    The pipe stays open: when it closes, whatever the reason, the child ends itself.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    # One that has ended already may have said why, before it could read anything.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(config.encode() + b"\n")
        await process.stdin.drain()
    return await process.stdout.readline()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process and whatever it may have started; it leads a session, and so a group, of its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

"""One engine's process: started, told its configuration, waited for, stopped. It never outlives this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from changeover.core.errors import EngineError
from changeover.core.ids import new_secret
from changeover.core.sizes import GIB
from changeover.serving.backends import Backend, Launch, launch_of
from changeover.serving.engine_log import EngineLog, Scribe
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import size_of

_INHERITED: Final = re.compile(
    r"PATH|PYTHONPATH|PYTHONHOME|PYTHONUTF8|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|LANG|LC_[A-Z]+|TZ|TMPDIR|(GGML|GOMP|OMP)_\w+"
)
"""What an engine may see of our environment: nothing that could hold a secret."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a child says when it can answer."""

    port: int
    """0: it listens on the socket that it was given."""
    secret: str
    note: str | None
    """Something about how it runs that a person should know."""


def ready_deadline_s(artifact: Path | None, base_s: float = 30.0, per_gib_s: float = 20.0) -> float:
    """How long an engine may take to become ready: in proportion to what it has to read."""
    return base_s + per_gib_s * weights_bytes(artifact) / GIB


def ready_within_s(plan: EnginePlan, backends: Mapping[BackendName, Backend], base_s: float) -> float:
    """How long the engine of a plan may take to become ready, with what its kind takes before it reads anything."""
    launch = launch_of(plan, backends)
    return ready_deadline_s(plan.artifact, base_s) + (0.0 if launch is None else launch.start_s)


def weights_bytes(artifact: Path | None) -> int:
    """What an engine has to read; 0 where that is nothing, or not here."""
    try:
        return size_of(artifact) if artifact is not None else 0
    except OSError:
        return 0


class ChildEngine:
    """One life of one engine's process."""

    def __init__(
        self, launch: Launch, log: EngineLog, environment: Mapping[str, str], socket: Path | None = None
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            launch: How it is started.
            log: Where what it writes goes.
            environment: Of which it inherits a part.
            socket: Where it listens, instead of on a port.
        """
        self._socket = socket
        self._launch = launch
        self._log = log
        self._environment = {key: value for key, value in environment.items() if _INHERITED.fullmatch(key)}
        self._secret = new_secret("engine")
        self._scribe = Scribe(log, self._secret)
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
        process = await self._spawn()
        where = {} if self._socket is None else {"socket": str(self._socket)}
        config = {**self._launch.config, **where, "secret": self._secret, "parent": os.getpid()}
        try:
            async with asyncio.timeout(deadline_s):
                line = await _exchange(process, json.dumps(config))
                if not line:
                    raise EngineError(await self.wait())
        except TimeoutError:
            raise EngineError(self._explained(f"was not ready within {deadline_s:.3g} s")) from None
        except ValueError:
            raise EngineError(self._explained("said something endless instead of that it is ready")) from None
        ready = await self._understood(line)
        self._starting = False
        return ready

    async def wait(self) -> str:
        """Wait for the end of the process; say how it ended."""
        assert self._process is not None, "nothing to wait for before the start"
        status = await self._process.wait()
        await self._scribe.last_words()
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
            self._scribe.close()

    def kill(self) -> None:
        """End the process without asking."""
        if self._process is not None:
            _kill(self._process)

    async def _spawn(self) -> asyncio.subprocess.Process:
        theirs = await self._scribe.reads()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=theirs,
                env={**self._environment, **self._launch.environment},
                start_new_session=True,  # Ctrl-C reaches us and not the engines: we still have answers to finish
            )
        except OSError as exc:
            raise EngineError(f"could not be started: {exc.strerror} (`{exc.filename}`)") from exc
        finally:
            os.close(theirs)
        return self._process

    async def _understood(self, line: bytes) -> Ready:
        try:
            said: Any = json.loads(line)
        except ValueError:
            said = None
        fields = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        port, note, error = fields.get("port"), fields.get("note"), fields.get("error")
        if fields.get("ready") is True and type(port) is int and (0 < port < 65536 or self._on_socket(port)):
            return Ready(port=port, secret=self._secret, note=note if isinstance(note, str) else None)
        if isinstance(error, str):
            await self._scribe.last_words()
            raise EngineError(self._explained(f"could not start: {error.rstrip('.')}"))
        raise EngineError(self._explained("did not say on which port it is ready"))

    def _on_socket(self, port: int) -> bool:
        return port == 0 and self._socket is not None

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

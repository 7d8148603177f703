"""One life of a deployment's engine: its process is started, checked, watched and ended, with all that it has started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass
from typing import Protocol

import psutil

from changeover.core.clock import Clock
from changeover.core.sizes import in_gib
from changeover.serving.backends import Launch
from changeover.serving.family import end_rest, family_of, session_of
from changeover.serving.first_answer import answer_once
from changeover.serving.patch import Patch
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, Ready, ready_deadline_s, weights_bytes
from changeover.serving.progress import Phase, Progress
from changeover.serving.sockets import Sockets
from changeover.serving.upstream import Client, Upstream

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How patient the supervisor is, in seconds."""

    ready_base_s: float = 30.0
    """For any engine to become ready, and on top of it:"""
    ready_per_gib_s: float = 20.0
    """For each GiB of weights."""
    health_every_s: float = 2.0
    health_timeout_s: float = 2.0
    health_misses: int = 3
    """Failed looks in a row after which an engine counts as hung."""
    elsewhere_every_s: float = 15.0
    """Between looks at a ready engine that somebody else runs; each is a request there."""
    elsewhere_answer_s: float = 120.0
    """For the first answer of such an engine, which may have to load its model."""
    memory_every_s: float = 2.0
    """Between looks at what an engine's processes hold."""
    stop_grace_s: float = 2.0
    """Between asking an idle engine to end and killing it."""
    drain_s: float = 30.0
    """For the last requests to an engine that leaks, before it is stopped whatever is in flight."""


class Around(Protocol):
    """What a life needs of its supervisor."""

    @property
    def clock(self) -> Clock: ...
    @property
    def client(self) -> Client: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def timing(self) -> Timing: ...
    @property
    def sockets(self) -> Sockets | None: ...
    @property
    def leave(self) -> Callable[[str], Awaitable[None]]: ...


class Life:
    """One process of a deployment, from its start to its end."""

    def __init__(self, plan: EnginePlan, launch: Launch, log: EngineLog, around: Around) -> None:
        self._plan = plan
        self.launch = launch
        self._around = around
        self._socket = around.sockets.fresh() if launch.sockets and around.sockets is not None else None
        self._engine = ChildEngine(launch, log, around.environment, self._socket)
        self._began_at = around.clock.monotonic()
        self._deadline_s = launch.start_s
        self._size: str | None = None
        self._phase: Phase = "loading"
        self._seen: dict[int, psutil.Process] = {}
        """What it was seen to have started, by number."""
        self.upstream: Upstream | None = None
        """Where it answers; None before it can."""
        self.ways: Mapping[str, Upstream] = {}
        """To each adapter that it holds, by deployment."""
        self.ready_at: float | None = None
        """Monotonic."""
        self.memory_bytes: int | None = None
        """Of all its processes, when it was looked at last."""

    @property
    def pid(self) -> int | None:
        return self._engine.pid

    @property
    def address(self) -> str | None:
        """Where it answers, as a person reads it."""
        if self.upstream is None:
            return None
        return self.upstream.base_url if self._socket is None else f"unix:{self._socket}"

    @property
    def heard(self) -> int:
        """Pieces of answers that came from it, whoever was asked for."""
        return sum(way.heard for way in self._ways())

    @property
    def answered(self) -> int:
        """Requests to it that have ended."""
        return sum(way.answered for way in self._ways())

    @property
    def in_flight(self) -> int:
        """Requests of this process that it has not answered yet."""
        return sum(way.in_flight for way in self._ways())

    async def idle(self) -> None:
        """Wait until nothing is in flight on any way."""
        while self.in_flight:
            for way in self._ways():
                await way.idle()

    def _ways(self) -> list[Upstream]:
        return [*([] if self.upstream is None else [self.upstream]), *self.ways.values()]

    @property
    def load_s(self) -> float:
        """From its start until it could answer."""
        return (self.ready_at or self._around.clock.monotonic()) - self._began_at

    @property
    def progress(self) -> Progress:
        """How far its start has come."""
        return Progress(
            phase=self._phase,
            size=self._size,
            elapsed_s=int(self.load_s),
            at_most_s=round(self._deadline_s),
        )

    async def begin(self, *, asks: bool, proven: Container[Adapter] = ()) -> str | None:
        """Start the process, and wait until it can answer. Gives what a person should know of how it runs.

        Args:
            asks: Have it answer once before it counts as ready.
            proven: Adapters that need not answer once, since they have elsewhere.

        Raises:
            EngineError: It did not become ready; says why.
        """
        timing = self._around.timing
        size = await asyncio.to_thread(weights_bytes, self._plan.artifact)
        self._size = in_gib(size) if size else None
        self._deadline_s += ready_deadline_s(self._plan.artifact, timing.ready_base_s, timing.ready_per_gib_s)
        ready = await self._engine.start(self._deadline_s)
        launch = self.launch
        upstream = self._way(self._plan.deployment, ready, launch.model, launch.patch)
        ways = {
            adapter: self._way(adapter.deployment, ready, chosen.model or launch.model, chosen.patch)
            for adapter, chosen in launch.adapters.items()
        }
        if asks:
            self._phase = "first answer"
            await answer_once(upstream, upstream.model or self._plan.model, self._deadline_s - self.load_s)
        for adapter, way in ways.items():
            if adapter not in proven:
                self._phase = "first answer"
                await answer_once(way, way.model or self._plan.model, self._deadline_s - self.load_s)
        await self._look()
        self.ready_at = self._around.clock.monotonic()
        self.upstream, self.ways = upstream, {adapter.deployment: way for adapter, way in ways.items()}
        return ready.note

    def _way(self, name: str, ready: Ready, model: str | None, patch: Patch | None) -> Upstream:
        launch = self.launch
        return self._around.client.upstream(
            name,
            f"http://127.0.0.1{f':{ready.port}' if ready.port else ''}{launch.prefix}",
            ready.secret,
            model,
            probe_path=launch.probe_path,
            socket=None if ready.port else str(self._socket),
            patch=patch,
        )

    async def watch(self) -> str:
        """Wait until the process ends or hangs; say which."""
        assert self.upstream is not None, "it is watched once it can answer"
        exited = asyncio.create_task(self._engine.wait())
        hung = asyncio.create_task(self._until_hung(self.upstream))
        looking = asyncio.create_task(self._look_on())
        try:
            done, _ = await asyncio.wait({exited, hung}, return_when=asyncio.FIRST_COMPLETED)
            if exited in done:
                return exited.result()
            self._engine.kill()  # what hangs does not hear that it is asked to end
            return hung.result()
        finally:
            for task in (exited, hung, looking):
                task.cancel()

    async def end(self) -> None:
        """End the process, and whatever it has started and left behind. Does so to the end when it is cancelled."""
        ending = asyncio.create_task(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise

    async def _end(self) -> None:
        await self._look()
        await self._engine.stop(self._around.timing.stop_grace_s)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
        pid = self._engine.pid
        rest = list(self._seen.values())
        if pid is not None:
            rest += await asyncio.to_thread(session_of, pid)
        if left := end_rest(rest):
            log.warning("%s: had left %d processes behind; they were killed", self._plan.deployment, left)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._around.timing.memory_every_s)
            await self._look()

    async def _look(self) -> None:
        """See what its processes are and hold."""
        pid = self._engine.pid
        family = None if pid is None else await asyncio.to_thread(family_of, pid)
        if family is None:
            return
        self.memory_bytes = family.bytes
        self._seen = {number: process for number, process in self._seen.items() if process.is_running()}
        self._seen |= {process.pid: process for process in family.processes[1:]}

    async def _until_hung(self, upstream: Upstream) -> str:
        """Return when the engine neither answers a look nor any request.

        A look alone proves nothing: an engine with all its threads busy, or on a machine with busy cores, may take
        seconds for it. So a miss only counts if no piece of any answer came meanwhile either. The other way round,
        silence alone proves nothing: reading a long prompt takes minutes, but leaves the engine able to say it is well.
        """
        timing = self._around.timing
        misses = 0
        while True:
            await asyncio.sleep(timing.health_every_s)
            heard = self.heard
            problem = await upstream.probe(timing.health_timeout_s)
            misses = 0 if problem is None or self.heard != heard else misses + 1
            if misses >= timing.health_misses:
                return f"hung: it {problem}, {misses} times in a row"

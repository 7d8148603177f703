"""Keeps one deployment's engine running: starts it, watches it, starts it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, ConfigError, EngineError
from changeover.serving.backends import Attached, Backend, Elsewhere, Launch
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, ready_deadline_s
from changeover.serving.restart import Failure, GiveUp, next_restart, remember
from changeover.serving.riders import next_load
from changeover.serving.upstream import Client, Patch, Upstream

log = logging.getLogger(__name__)

DRAINING = "finishing its last requests"
FIRST_WORDS: Mapping[str, object] = {
    "messages": [{"role": "user", "content": "Say yes."}],
    "max_tokens": 1,
    "temperature": 0,
}
"""What an engine is asked before it gets traffic: little, but through all of it."""

State = Literal["starting", "ready", "restarting", "failed", "stopped"]


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
    stop_grace_s: float = 2.0
    """Between asking an idle engine to end and killing it."""


@dataclass(frozen=True, kw_only=True)
class DeploymentStatus:
    """What a person sees of a deployment."""

    name: str
    state: State
    detail: str
    """Why it is in this state; empty when there is nothing to say."""
    address: str | None
    pid: int | None
    started_at: datetime | None
    """When the present process became ready."""
    restarts: int
    """Since somebody last asked for the deployment."""
    memory_bytes: int | None
    """Resident memory of its process."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all keepers of a supervisor share."""

    clock: Clock
    client: Client
    log_dir: Path
    environment: Mapping[str, str]
    timing: Timing
    on_change: Callable[[DeploymentStatus], None]
    leave: Callable[[str], Awaitable[None]] | None = None
    """Awaited before a process that was replaced is ended: returns once no other process of ours has a request there."""
    find: Callable[[str], Keeper | None] = lambda name: None
    """The keeper of a deployment."""
    riders: Callable[[str], Sequence[Keeper]] = lambda name: ()
    """Keepers of the adapters that shall run on a deployment's engine."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Life:
    """One process that can answer."""

    launch: Launch
    engine: ChildEngine
    upstream: Upstream
    ready_at: float
    notes: str
    ways: Mapping[str, Upstream] = field(default_factory=dict[str, Upstream])
    """To each adapter that it holds, by deployment."""

    @property
    def heard(self) -> int:
        return self.upstream.heard + sum(way.heard for way in self.ways.values())

    @property
    def in_flight(self) -> int:
        return self.upstream.in_flight + sum(way.in_flight for way in self.ways.values())

    async def idle(self) -> None:
        """Wait until nothing is in flight on any way."""
        while self.in_flight:
            for way in (self.upstream, *self.ways.values()):
                await way.idle()


class _FirstAnswer(msgspec.Struct):
    choices: list[msgspec.Raw]


class Keeper:
    """One deployment, from the moment it is asked for until it is stopped."""

    def __init__(self, plan: EnginePlan, backend: Backend, around: Surroundings) -> None:
        self.plan = plan
        self.state: State = "starting"
        self._detail = ""
        self._backend = backend
        self._around = around
        self._log = EngineLog(around.log_dir / f"{plan.deployment}.log")
        self._launch: Launch | None = None
        self._engine: ChildEngine | None = None
        self._life: _Life | None = None
        self._replaced = asyncio.Event()
        """Set when another process has taken over from the one that is watched."""
        self._arriving: set[asyncio.Task[_Life]] = set()
        self._leaving: dict[asyncio.Task[None], _Life] = {}
        """Processes that were replaced and have requests to answer still."""
        self._upstream: Upstream | None = None
        self._started_at: datetime | None = None
        self._restarts = 0
        self._history: tuple[Failure, ...] = ()
        self._draining = False
        self._before_drain = ""
        self._checked = False
        """Its first answer was."""
        self._proven: set[Adapter] = set()
        """Adapters whose first answer was checked."""
        self._one_by_one = False
        self._carrying: asyncio.Task[None] | None = None
        """Brings the process in line with the adapters that it shall hold."""
        self._base: str | None = None
        """Of an adapter: the deployment whose engine it shares."""
        self._changed = asyncio.Event()
        self._gone = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"keeper of {plan.deployment}")

    @property
    def upstream(self) -> Upstream | None:
        """Where new requests go; None while there is nothing that could answer them."""
        return None if self._draining else self._upstream

    @property
    def in_flight(self) -> int:
        """Requests of this process that it has not answered yet, those to adapters on it among them."""
        lives = [*self._leaving.values(), *([self._life] if self._life is not None else [])]
        if lives:
            return sum(life.in_flight for life in lives)
        return 0 if self._upstream is None else self._upstream.in_flight

    @property
    def stopping(self) -> bool:
        """Somebody stops it, and it has not ended yet."""
        return self._draining and not self.ended

    @property
    def ended(self) -> bool:
        """Nothing will happen any more unless the deployment is asked for again."""
        return self.state in ("failed", "stopped")

    def status(self) -> DeploymentStatus:
        return DeploymentStatus(
            name=self.plan.deployment,
            state=self.state,
            detail=self._detail,
            address=self._upstream.base_url if self._upstream is not None else None,
            pid=self._pid(),
            started_at=self._started_at,
            restarts=self._restarts,
            memory_bytes=self._memory_bytes(),
        )

    async def wait_ready(self) -> None:
        """Wait until the engine can answer.

        Raises:
            EngineError: It was given up or stopped; says why.
        """
        while self.upstream is None:
            if self.ended or self._draining:
                raise EngineError(self.explained())
            self._changed.clear()
            await self._changed.wait()

    def explained(self) -> str:
        """State and reason in one sentence."""
        reason = self._detail or ("" if self._upstream is not None else self._log.reason(starting=True))
        because = f": {reason.rstrip('.')}" if reason else ""
        return f"`{self.plan.deployment}` is {self.state}{because}."

    async def drain(self, drain_s: float | None) -> None:
        """Send nothing new there, and wait until nothing is in flight; if `drain_s` is given, for no longer than that."""
        self._draining = True
        life, upstream = self._life, self._upstream
        if upstream is None and not self._leaving:
            return
        self._before_drain = self._detail
        self._become(self.state, DRAINING)
        self._tell_riders()
        try:
            async with asyncio.timeout(drain_s):
                if life is not None:
                    await life.idle()
                elif upstream is not None:
                    await upstream.idle()
                if self._leaving:
                    await asyncio.wait(self._leaving)
        except TimeoutError:
            log.warning("%s: stopped with %d requests in flight", self.plan.deployment, self.in_flight)

    def keep_on(self) -> None:
        """Take new requests again: it was draining, and shall not stop after all."""
        self._draining = False
        self._become(self.state, self._before_drain if self._detail == DRAINING else self._detail)
        self._changed.set()
        self.follow_base()
        self._tell_riders()

    async def stop(self) -> None:
        """End the process, if any, and everything that watches it."""
        self._draining = True
        tasks: list[asyncio.Task[Any]] = [self._task, *self._arriving, *self._leaving]
        tasks += [] if self._carrying is None else [self._carrying]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._become("stopped", "")
            self._gone.set()

    async def wait_stopped(self) -> None:
        """Wait until whoever stops it is done."""
        await self._gone.wait()

    async def replace(self, launch: Launch) -> None:
        """Exchange the process for another one, started as `launch` says. No request fails by it.

        The new one comes up beside the present one and gets all new requests from then on; the old one ends once it has
        answered its last. Whatever is started later for this deployment is started so too.

        Raises:
            EngineError: The new one did not come up, or there was none to replace: all is as if nobody had asked.
        """
        arriving = asyncio.create_task(self._arrived(launch), name=f"successor of {self.plan.deployment}")
        self._arriving.add(arriving)
        try:
            await asyncio.wait({arriving})
        finally:
            arriving.cancel()
            self._arriving.discard(arriving)
        if arriving.cancelled():
            raise EngineError("it is stopped")
        life, old = arriving.result(), self._life
        if old is None or self._draining:
            await life.engine.stop(self._around.timing.stop_grace_s)
            raise EngineError("its process ended while another one was started in its place")
        self._launch, self._engine, self._life = launch, life.engine, life
        self._replaced.set()
        task = asyncio.create_task(self._leave(old), name=f"end of a process of {self.plan.deployment}")
        self._leaving[task] = old
        task.add_done_callback(lambda done: self._leaving.pop(done, None))
        self._be_ready(life)

    async def _arrived(self, launch: Launch) -> _Life:
        engine = self._child(launch)
        try:
            return await self._brought_up(engine, launch)
        except BaseException:
            await engine.stop(self._around.timing.stop_grace_s)
            raise

    async def _leave(self, life: _Life) -> None:
        """End a process that gets no new requests any more, as soon as it has answered those that it has."""
        try:
            await life.idle()
            if self._around.leave is not None:
                for name in (self.plan.deployment, *life.ways):
                    await self._around.leave(name)
        finally:
            await life.engine.stop(self._around.timing.stop_grace_s)

    async def _run(self) -> None:
        self._announce()
        try:
            riders = tuple(Adapter.of(rider.plan) for rider in self._around.riders(self.plan.deployment))
            where = await asyncio.to_thread(self._backend.launch, replace(self.plan, adapters=riders))
            match where:
                case Elsewhere():
                    await self._follow(where)
                case Attached():
                    await self._ride(where)
                case Launch():
                    await self._keep(where)
        except ChangeoverError as exc:
            self._become("failed", exc.message)
        except Exception as exc:  # a bug of ours in one deployment: said where people look, and the others go on
            log.exception("%s: the supervisor failed", self.plan.deployment)
            self._become("failed", f"the supervisor failed: {type(exc).__name__}")

    async def _keep(self, launch: Launch) -> None:
        """Start the process again and again until that makes no sense."""
        self._launch = launch
        while True:
            tried = self._launch
            failure = await self._live_once(tried)
            log.warning("%s: %s", self.plan.deployment, failure.reason)
            if failure.ready_s is None and not self._proven.issuperset(tried.adapters):
                self._launch = await self._launch_with(())  # they may be at fault: what it was asked for comes first
            self._history = remember(self._history, failure)
            decision = next_restart(self._history, self._around.clock.monotonic())
            if isinstance(decision, GiveUp):
                self._become("failed", decision.reason)
                return
            self._become("restarting", failure.reason)
            await asyncio.sleep(decision.delay_s)
            self._restarts += 1

    async def _live_once(self, launch: Launch) -> Failure:
        """One life of the process, and of those that replace it, however the last one ends."""
        around = self._around
        ready_at: float | None = None
        self._engine = self._child(launch)
        try:
            life = self._life = await self._brought_up(self._engine, launch)
            self._be_ready(life)
            while (reason := await self._watch(life)) is None:
                assert self._life is not None, "it was replaced"
                life = self._life
            ready_at = life.ready_at
        except EngineError as exc:
            reason = exc.message
        finally:
            ended_at = around.clock.monotonic()
            engine, self._life, self._upstream, self._started_at = self._engine, None, None, None
            self._tell_riders()
            await engine.stop(around.timing.stop_grace_s)
            self._engine = None
        return Failure(at=ended_at, ready_s=None if ready_at is None else ended_at - ready_at, reason=reason)

    def _child(self, launch: Launch) -> ChildEngine:
        return ChildEngine(launch, self._log, self._around.environment)

    async def _brought_up(self, engine: ChildEngine, launch: Launch) -> _Life:
        """Start a process and wait until it can answer. The caller ends it, whatever comes of this.

        Raises:
            EngineError: It cannot.
        """
        around, timing = self._around, self._around.timing
        deadline_s = launch.start_s + ready_deadline_s(self.plan.artifact, timing.ready_base_s, timing.ready_per_gib_s)
        started_at = around.clock.monotonic()
        ready = await engine.start(deadline_s)

        def way(name: str, model: str | None, patch: Patch | None) -> Upstream:
            address = f"http://127.0.0.1:{ready.port}{launch.prefix}"
            return around.client.upstream(name, address, ready.secret, model, probe_path=launch.probe_path, patch=patch)

        upstream = way(self.plan.deployment, launch.model, launch.patch)
        ways = {
            adapter.deployment: way(adapter.deployment, chosen.model or launch.model, chosen.patch)
            for adapter, chosen in launch.adapters.items()
        }
        notes = [ready.note] if ready.note else []
        if launch.first_answer and not self._checked:
            await _first_answer(upstream, self.plan.model, deadline_s - (around.clock.monotonic() - started_at))
            self._checked = True
            notes.insert(0, f"{around.clock.monotonic() - started_at:.1f} s, first answer checked")
        for adapter in launch.adapters.keys() - self._proven:
            asked = ways[adapter.deployment]
            try:
                await _first_answer(asked, asked.model or self.plan.model, deadline_s)
            except EngineError as exc:
                raise EngineError(f"{exc.message} (adapter `{adapter.deployment}`)") from exc
            self._proven.add(adapter)
        return _Life(
            launch=launch,
            engine=engine,
            upstream=upstream,
            ready_at=around.clock.monotonic(),
            notes="; ".join(notes),
            ways=ways,
        )

    async def _watch(self, life: _Life) -> str | None:
        """Wait until the process ends or hangs, and say which; None once another one has taken over."""
        self._replaced.clear()
        exited = asyncio.create_task(life.engine.wait())
        hung = asyncio.create_task(self._until_hung(life))
        replaced = asyncio.create_task(self._replaced.wait())
        try:
            done, _ = await asyncio.wait({exited, hung, replaced}, return_when=asyncio.FIRST_COMPLETED)
            if replaced in done:
                return None
            if exited in done:
                return exited.result()
            life.engine.kill()  # what hangs does not hear that it is asked to end
            return hung.result()
        finally:
            for task in (exited, hung, replaced):
                task.cancel()

    async def _until_hung(self, life: _Life) -> str:
        """Return when the engine neither answers a look nor any request.

        A look alone proves nothing: an engine with all its threads busy, or on a machine with busy cores, may take
        seconds for it. So a miss only counts if no piece of any answer came meanwhile either. The other way round,
        silence alone proves nothing: reading a long prompt takes minutes, but leaves the engine able to say it is well.
        """
        timing = self._around.timing
        misses = 0
        while True:
            await asyncio.sleep(timing.health_every_s)
            heard = life.heard
            problem = await life.upstream.probe(timing.health_timeout_s)
            misses = 0 if problem is None or life.heard != heard else misses + 1
            if misses >= timing.health_misses:
                return f"hung: it {problem}, {misses} times in a row"

    async def _follow(self, where: Elsewhere) -> None:
        """Look for ever whether an engine that somebody else runs can answer."""
        around, timing = self._around, self._around.timing
        upstream = around.client.upstream(
            self.plan.deployment, where.base_url, self._key(where.api_key_env), where.model
        )
        misses = 0
        while True:
            problem = await upstream.probe(timing.health_timeout_s)
            misses = 0 if problem is None else misses + 1
            if problem is None and self._upstream is None:
                self._answer_at(upstream, "")
            elif problem is not None and (self._upstream is None or misses >= timing.health_misses):
                self._upstream = None
                self._started_at = None
                self._become("restarting" if self.state == "ready" else self.state, problem)
            fast = problem is not None or self._upstream is None
            await asyncio.sleep(timing.health_every_s if fast else timing.elsewhere_every_s)

    def way_to(self, adapter: str) -> Upstream | None:
        """Where an adapter on this engine is asked; None while it cannot answer."""
        return None if self._life is None or self._draining else self._life.ways.get(adapter)

    def carry(self) -> None:
        """See to it that the process holds the adapters of all deployments that share it. Returns at once."""
        if self._life is not None and (self._carrying is None or self._carrying.done()):
            self._carrying = asyncio.create_task(self._carry(), name=f"adapters of {self.plan.deployment}")

    async def _carry(self) -> None:
        """Exchange the process for one that holds what is lacking: llama.cpp reads adapters only when it starts.

        Weights are mapped, so that both have one copy of them.
        """
        while (life := self._life) is not None and not self._draining:
            riders = {Adapter.of(rider.plan): rider for rider in self._around.riders(self.plan.deployment)}
            load = next_load([*life.launch.adapters], [*riders], one_by_one=self._one_by_one)
            if load is None:
                return
            try:
                await self.replace(await self._launch_with(load.adapters))
            except ChangeoverError as exc:
                if self._life is not life:
                    continue  # it ended meanwhile, and that was the reason
                log.warning("%s: adapters: %s", self.plan.deployment, exc)
                if len(load.new) > 1:
                    self._one_by_one = True
                    continue
                for adapter in load.new:
                    riders[adapter].refuse(f"`{self.plan.deployment}` cannot hold it: {exc.message}")

    async def _launch_with(self, adapters: tuple[Adapter, ...]) -> Launch:
        launch = await asyncio.to_thread(self._backend.launch, replace(self.plan, adapters=adapters))
        assert isinstance(launch, Launch), "it has a process"
        return launch

    async def _ride(self, where: Attached) -> None:
        """Answer through the engine of another deployment, for as long as that runs."""
        self._base = where.base
        self.follow_base()
        base = self._around.find(where.base)
        if base is not None:
            base.carry()
        await asyncio.Event().wait()

    def follow_base(self) -> None:
        """Go where the engine is that this adapter is on; told of every change there, before any old way is closed."""
        if self._base is None or self._draining or self.ended:
            return
        base = self._around.find(self._base)
        upstream = None if base is None else base.way_to(self.plan.deployment)
        if upstream is not None:
            if upstream is not self._upstream:
                self._answer_at(upstream, f"on `{self._base}`")
            return
        self._upstream = self._started_at = None
        state: State = "starting" if base is not None and base.state in ("starting", "ready") else "restarting"
        why = "which does not run" if base is None else f"which is {base.state}"
        self._become(
            state, f"waits for `{self._base}`, {why}" if state == "restarting" else f"waits for `{self._base}`"
        )

    def refuse(self, reason: str) -> None:
        """Give it up: the engine that it shares cannot hold it."""
        self._become("failed", reason)
        self._task.cancel()

    def _tell_riders(self) -> None:
        for rider in self._around.riders(self.plan.deployment):
            rider.follow_base()

    def _key(self, variable: str | None) -> str | None:
        if variable is None:
            return None
        key = self._around.environment.get(variable)
        if not key:
            raise ConfigError(f"the environment variable `{variable}` that shall hold its key is not set")
        return key

    def _be_ready(self, life: _Life) -> None:
        self._answer_at(life.upstream, life.notes)
        self._tell_riders()
        self.carry()

    def _answer_at(self, upstream: Upstream, detail: str) -> None:
        self._upstream = upstream
        self._started_at = self._around.clock.now()
        self._become("ready", detail)

    def _become(self, state: State, detail: str) -> None:
        if (state, detail) == (self.state, self._detail):
            return
        self.state = state
        self._detail = detail
        self._changed.set()
        self._announce()
        self._tell_riders()

    def _announce(self) -> None:
        try:
            self._around.on_change(self.status())
        except Exception:  # whoever listens must not be able to stop an engine's restart
            log.exception("%s: a listener failed", self.plan.deployment)

    def _pid(self) -> int | None:
        return self._engine.pid if self._engine is not None else None

    def _memory_bytes(self) -> int | None:
        pid = self._pid()
        if pid is None:
            return None
        try:
            return psutil.Process(pid).memory_info().rss
        except psutil.Error:
            return None


async def _first_answer(upstream: Upstream, model: str, within_s: float) -> None:
    """Have an engine answer once: what loads need not work, and what was never used is slow at first.

    Raises:
        EngineError: It gave no answer, or none with a choice.
    """
    body = msgspec.json.encode({"model": model, **FIRST_WORDS})
    try:
        answer = await upstream.fetch(
            "/v1/chat/completions", body, first_byte_s=max(within_s, 1.0), stall_s=max(within_s, 1.0)
        )
        choices = msgspec.json.decode(answer, type=_FirstAnswer).choices
    except (ChangeoverError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise EngineError(f"failed its first answer: {exc}") from exc
    if not choices:
        raise EngineError("failed its first answer: it has no `choices`")

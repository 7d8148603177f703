"""Keeps one deployment's engine running: starts it, watches it, starts it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, ConfigError, EngineError
from changeover.serving.backends import Backend, Elsewhere, Launch
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, ready_deadline_s
from changeover.serving.restart import Failure, GiveUp, next_restart, remember
from changeover.serving.upstream import Client, Upstream

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
        self._engine: ChildEngine | None = None
        self._upstream: Upstream | None = None
        self._started_at: datetime | None = None
        self._restarts = 0
        self._history: tuple[Failure, ...] = ()
        self._draining = False
        self._before_drain = ""
        self._checked = False
        """Its first answer was."""
        self._changed = asyncio.Event()
        self._gone = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"keeper of {plan.deployment}")

    @property
    def upstream(self) -> Upstream | None:
        """Where new requests go; None while there is nothing that could answer them."""
        return None if self._draining else self._upstream

    @property
    def in_flight(self) -> int:
        """Requests of this process that it has not answered yet."""
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
        upstream = self._upstream
        if upstream is None:
            return
        self._before_drain = self._detail
        self._become(self.state, DRAINING)
        try:
            async with asyncio.timeout(drain_s):
                await upstream.idle()
        except TimeoutError:
            log.warning("%s: stopped with %d requests in flight", self.plan.deployment, upstream.in_flight)

    def keep_on(self) -> None:
        """Take new requests again: it was draining, and shall not stop after all."""
        self._draining = False
        self._become(self.state, self._before_drain if self._detail == DRAINING else self._detail)
        self._changed.set()

    async def stop(self) -> None:
        """End the process, if any, and everything that watches it."""
        self._draining = True
        self._task.cancel()
        try:
            await asyncio.gather(self._task, return_exceptions=True)
        finally:
            self._become("stopped", "")
            self._gone.set()

    async def wait_stopped(self) -> None:
        """Wait until whoever stops it is done."""
        await self._gone.wait()

    async def _run(self) -> None:
        self._announce()
        try:
            where = await asyncio.to_thread(self._backend.launch, self.plan)
            if isinstance(where, Elsewhere):
                await self._follow(where)
            else:
                await self._keep(where)
        except ChangeoverError as exc:
            self._become("failed", exc.message)
        except Exception as exc:  # a bug of ours in one deployment: said where people look, and the others go on
            log.exception("%s: the supervisor failed", self.plan.deployment)
            self._become("failed", f"the supervisor failed: {type(exc).__name__}")

    async def _keep(self, launch: Launch) -> None:
        """Start the process again and again until that makes no sense."""
        while True:
            failure = await self._live_once(launch)
            log.warning("%s: %s", self.plan.deployment, failure.reason)
            self._history = remember(self._history, failure)
            decision = next_restart(self._history, self._around.clock.monotonic())
            if isinstance(decision, GiveUp):
                self._become("failed", decision.reason)
                return
            self._become("restarting", failure.reason)
            await asyncio.sleep(decision.delay_s)
            self._restarts += 1

    async def _live_once(self, launch: Launch) -> Failure:
        """One life of the process, however it ends."""
        around, timing = self._around, self._around.timing
        ready_at: float | None = None
        engine = self._engine = ChildEngine(launch, self._log, around.environment)
        try:
            deadline_s = launch.start_s + ready_deadline_s(
                self.plan.artifact, timing.ready_base_s, timing.ready_per_gib_s
            )
            started_at = around.clock.monotonic()
            ready = await engine.start(deadline_s)
            upstream = around.client.upstream(
                self.plan.deployment,
                f"http://127.0.0.1:{ready.port}{launch.prefix}",
                ready.secret,
                launch.model,
                probe_path=launch.probe_path,
            )
            notes = [ready.note] if ready.note else []
            if launch.first_answer and not self._checked:
                model = launch.model or self.plan.model  # as it is called there: many engines refuse another name
                await _first_answer(upstream, model, deadline_s - (around.clock.monotonic() - started_at))
                self._checked = True
                notes.insert(0, f"{around.clock.monotonic() - started_at:.1f} s, first answer checked")
            ready_at = around.clock.monotonic()
            self._be_ready(upstream, "; ".join(notes))
            reason = await self._watch(engine, upstream)
        except EngineError as exc:
            reason = exc.message
        finally:
            ended_at = around.clock.monotonic()
            self._upstream = None
            self._started_at = None
            await engine.stop(timing.stop_grace_s)
            self._engine = None
        return Failure(at=ended_at, ready_s=None if ready_at is None else ended_at - ready_at, reason=reason)

    async def _watch(self, engine: ChildEngine, upstream: Upstream) -> str:
        """Wait until the process ends or hangs; say which."""
        exited = asyncio.create_task(engine.wait())
        hung = asyncio.create_task(self._until_hung(upstream))
        try:
            done, _ = await asyncio.wait({exited, hung}, return_when=asyncio.FIRST_COMPLETED)
            if exited in done:
                return exited.result()
            engine.kill()  # what hangs does not hear that it is asked to end
            return hung.result()
        finally:
            exited.cancel()
            hung.cancel()

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
            heard = upstream.heard
            problem = await upstream.probe(timing.health_timeout_s)
            misses = 0 if problem is None or upstream.heard != heard else misses + 1
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
                self._be_ready(upstream, "")
            elif problem is not None and (self._upstream is None or misses >= timing.health_misses):
                self._upstream = None
                self._started_at = None
                self._become("restarting" if self.state == "ready" else self.state, problem)
            fast = problem is not None or self._upstream is None
            await asyncio.sleep(timing.health_every_s if fast else timing.elsewhere_every_s)

    def _key(self, variable: str | None) -> str | None:
        if variable is None:
            return None
        key = self._around.environment.get(variable)
        if not key:
            raise ConfigError(f"the environment variable `{variable}` that shall hold its key is not set")
        return key

    def _be_ready(self, upstream: Upstream, detail: str) -> None:
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

"""Keeps one deployment's engine running: starts it, watches it, starts it again, lets it sleep and wakes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, ConfigError, EngineError
from changeover.serving.backends import Backend, Elsewhere, Launch
from changeover.serving.life import Life, Timing
from changeover.serving.plan import EnginePlan
from changeover.serving.process import EngineLog
from changeover.serving.restart import Failure, GiveUp, Restart, next_restart, remember
from changeover.serving.sockets import Sockets
from changeover.serving.upstream import Client, Upstream

log = logging.getLogger(__name__)

DRAINING = "finishing its last requests"

State = Literal["starting", "ready", "restarting", "idle", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class DeploymentStatus:
    """What a person sees of a deployment."""

    name: str
    state: State
    detail: str
    """Why it is in this state, or how far its start has come; empty when there is nothing to say."""
    address: str | None
    pid: int | None
    started_at: datetime | None
    """When the present process became ready."""
    restarts: int
    """Since somebody last asked for the deployment. One that was unloaded and woken again is none."""
    memory_bytes: int | None
    """Resident memory of its process and of all that this has started."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all keepers of a supervisor share."""

    clock: Clock
    client: Client
    log_dir: Path
    environment: Mapping[str, str]
    timing: Timing
    on_change: Callable[[DeploymentStatus], None]
    sockets: Sockets | None
    """Where engines that can listen on Unix sockets do; None: all listen on ports."""
    leave: Callable[[str], Awaitable[None]]
    """Awaited when an engine gets no more requests: returns once no other process has one there."""


@dataclass(frozen=True)
class Unload:
    """Asked of a keeper: end the process until somebody asks for it again."""

    why: str


@dataclass(frozen=True)
class Renew:
    """Asked of a keeper: a fresh process in place of the present one."""

    why: str
    beside: bool
    """Memory holds both for a while: the present one answers until the fresh one can."""


class Keeper:
    """One deployment, from the moment it is asked for until it is stopped."""

    def __init__(self, plan: EnginePlan, backend: Backend, around: Surroundings) -> None:
        self.plan = plan
        self.state: State = "starting"
        self._detail = ""
        self._backend = backend
        self._around = around
        self._log = EngineLog(around.log_dir / f"{plan.deployment}.log")
        self._life: Life | None = None
        self._upstream: Upstream | None = None
        self._started_at: datetime | None = None
        self._restarts = 0
        self._history: tuple[Failure, ...] = ()
        self._draining = False
        self._before_drain = ""
        self._checked = False
        """Its first answer was."""
        self._load_s = 0.0
        """What the last start took."""
        self._wish: asyncio.Future[Unload | Renew] | None = None
        """Set while its engine answers: what somebody wants to become of it."""
        self._woken = asyncio.Event()
        self._sleeps = False
        """It was unloaded, and is not back yet."""
        self._used: tuple[int, float] = (0, around.clock.monotonic())
        """Requests answered when it was last looked at, and when that was another number."""
        self._outgoing: set[asyncio.Task[None]] = set()
        """Ends of earlier processes, which answer their last requests."""
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

    @property
    def asleep(self) -> bool:
        """It was unloaded, and can answer once it is woken; also while it wakes, until that fails."""
        waits = self._upstream is None and self.state in ("ready", "idle", "starting")
        return self._sleeps and waits and not self._draining

    @property
    def loaded(self) -> bool:
        """It has a process, or is about to: it holds memory."""
        return self.state != "idle" and not self.ended

    @property
    def load_s(self) -> float:
        """What its last start took; 0 before there was one."""
        return self._load_s

    def unused_s(self) -> float:
        """Since its last request ended, as far as whoever looks regularly can tell; 0 while one is under way."""
        now = self._around.clock.monotonic()
        upstream = self._upstream
        if upstream is not None and (upstream.in_flight or upstream.answered != self._used[0]):
            self._used = (upstream.answered, now)
        return now - self._used[1]

    def status(self) -> DeploymentStatus:
        life = self._life
        return DeploymentStatus(
            name=self.plan.deployment,
            state=self.state,
            detail=self._said(),
            address=self._address(),
            pid=None if life is None else life.pid,
            started_at=self._started_at,
            restarts=self._restarts,
            memory_bytes=None if life is None else life.memory_bytes,
        )

    def _address(self) -> str | None:
        if self._upstream is None:
            return None
        return self._upstream.base_url if self._life is None else self._life.address

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

    def unload(self, why: str) -> None:
        """End the process once its requests are answered, and start it again when it is woken."""
        self._ask(Unload(why))

    def renew(self, why: str, *, beside: bool) -> None:
        """Put a fresh process in the place of the present one; counts as a restart.

        Args:
            why: What was wrong with the present one.
            beside: Memory holds both: the present one answers until the fresh one can.
        """
        self._ask(Renew(why, beside))

    def wake(self) -> None:
        """Start the process of a deployment that was unloaded. Nothing happens to any other."""
        if self._upstream is None:
            self._woken.set()

    async def stop(self) -> None:
        """End the process, if any, and everything that watches it."""
        self._draining = True
        self._task.cancel()
        for task in self._outgoing:
            task.cancel()
        try:
            await asyncio.gather(self._task, *self._outgoing, return_exceptions=True)
        finally:
            self._become("stopped", "")
            self._gone.set()

    async def wait_stopped(self) -> None:
        """Wait until whoever stops it is done."""
        await self._gone.wait()

    def _ask(self, wish: Unload | Renew) -> None:
        if self._wish is not None and not self._wish.done() and not self._draining:
            self._wish.set_result(wish)

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
            ended = await self._live_once(launch)
            if isinstance(ended, Unload):
                await self._sleep(ended.why)
                continue
            decision = self._after(ended)
            if isinstance(decision, GiveUp):
                self._become("failed", decision.reason)
                return
            self._become("restarting", ended.reason)
            await asyncio.sleep(decision.delay_s)

    def _after(self, failure: Failure) -> GiveUp | Restart:
        log.warning("%s: %s", self.plan.deployment, failure.reason)
        self._history = remember(self._history, failure)
        decision = next_restart(self._history, self._around.clock.monotonic())
        self._restarts += isinstance(decision, Restart)
        return decision

    async def _sleep(self, why: str) -> None:
        self._sleeps = True
        self._become("idle", f"{why}; starts at the next request, which took {self._load_s:.1f} s last")
        await self._woken.wait()
        self._become("starting", "")

    async def _live_once(self, launch: Launch) -> Failure | Unload:
        """Have it answer, by one process or by several that take each other's place, until there is none."""
        life = self._life = Life(self.plan, launch, self._log, self._around)
        leaked = False
        try:
            await self._begin(life, launch)
            while isinstance(wished := await self._until_wished(life), Renew):
                fresh = await self._beside(life, launch, wished) if wished.beside else None
                if fresh is None:
                    break
                life = fresh
            if isinstance(wished, Unload):
                self._sleeps = True
                await self._hide(life, None)
                return wished
            if isinstance(wished, Renew):
                leaked = True
                await self._hide(life, self._around.timing.drain_s)
            reason = wished if isinstance(wished, str) else wished.why
        except EngineError as exc:
            reason = exc.message
        finally:
            ended_at = self._around.clock.monotonic()
            self._upstream = None
            self._started_at = None
            self._wish = None
            await life.end()
            self._life = None
        return _failure(life, ended_at, reason, leaked=leaked)

    async def _begin(self, life: Life, launch: Launch) -> None:
        asks = launch.first_answer and not self._checked
        note = await life.begin(asks=asks)
        self._checked = self._checked or asks
        self._load_s = life.load_s
        notes = [] if note is None else [note]
        if asks:
            notes.insert(0, f"{life.load_s:.1f} s, first answer checked")
        elif self._sleeps:
            notes.insert(0, f"woken in {life.load_s:.1f} s")
        assert life.upstream is not None, "it has begun"
        self._be_ready(life.upstream, "; ".join(notes))

    async def _until_wished(self, life: Life) -> str | Unload | Renew:
        """Wait until the process ends or hangs, and say which, or until somebody wants something of it."""
        wish = self._wish = asyncio.get_running_loop().create_future()
        watching = asyncio.create_task(life.watch())
        try:
            await asyncio.wait({watching, wish}, return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() else wish.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _beside(self, life: Life, launch: Launch, wish: Renew) -> Life | None:
        """Start a fresh process while the present one answers, and let it take over; None if that is not to be."""
        failure = _failure(life, self._around.clock.monotonic(), wish.why, leaked=True)
        if isinstance(next_restart(remember(self._history, failure), failure.at), GiveUp):
            return None
        fresh = Life(self.plan, launch, self._log, self._around)
        watching = asyncio.create_task(self._hide_when_ended(life))
        try:
            await fresh.begin(asks=False)
        except EngineError as exc:
            await fresh.end()
            log.warning("%s: no fresh process beside the present one: %s", self.plan.deployment, exc)
            return None
        except BaseException:
            await fresh.end()
            raise
        finally:
            watching.cancel()
        self._after(failure)
        self._life, self._load_s = fresh, fresh.load_s
        assert fresh.upstream is not None, "it has begun"
        self._be_ready(fresh.upstream, f"in place of one that {wish.why}")
        task = asyncio.create_task(self._retire(life))
        self._outgoing.add(task)
        task.add_done_callback(self._outgoing.discard)
        return fresh

    async def _hide_when_ended(self, life: Life) -> None:
        await life.watch()
        self._upstream = None
        self._announce()

    async def _retire(self, life: Life) -> None:
        """End a process whose place another has taken."""
        try:
            await self._drained(life, self._around.timing.drain_s)
        finally:
            await life.end()

    async def _hide(self, life: Life, drain_s: float | None) -> None:
        """Send nothing new to a process, and wait until its requests are answered."""
        self._upstream = None
        self._announce()
        await self._drained(life, drain_s)

    async def _drained(self, life: Life, drain_s: float | None) -> None:
        upstream = life.upstream
        assert upstream is not None, "it could answer"
        try:
            async with asyncio.timeout(drain_s):
                await upstream.idle()
                await self._around.leave(self.plan.deployment)
        except TimeoutError:
            log.warning("%s: stopped with %d requests in flight", self.plan.deployment, upstream.in_flight)

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
        self._sleeps = False
        self._woken.clear()
        self._used = (upstream.answered, self._around.clock.monotonic())
        self._become("ready", detail)

    def _become(self, state: State, detail: str) -> None:
        if (state, detail) == (self.state, self._detail):
            return
        self.state = state
        self._detail = detail
        self._changed.set()
        self._announce()

    def _said(self) -> str:
        """The detail; of a start that is under way and has nothing to say yet, how far it has come."""
        starts = self._life is not None and self._upstream is None and self.state == "starting"
        return str(self._life.progress) if self._life is not None and starts and not self._detail else self._detail

    def _announce(self) -> None:
        try:
            self._around.on_change(self.status())
        except Exception:  # whoever listens must not be able to stop an engine's restart
            log.exception("%s: a listener failed", self.plan.deployment)


def _failure(life: Life, at: float, reason: str, *, leaked: bool) -> Failure:
    return Failure(at=at, ready_s=None if life.ready_at is None else at - life.ready_at, reason=reason, leaked=leaked)

"""Keeps one deployment's engine running: starts it, watches it, starts it again, lets it sleep and wakes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, ConfigError, EngineError
from changeover.serving.backends import Attached, Backend, Elsewhere, Launch
from changeover.serving.carrier import Carrier
from changeover.serving.elsewhere import looks
from changeover.serving.life import Life, Timing
from changeover.serving.options import AdapterOptions
from changeover.serving.outgoing import Outgoing
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.process import EngineLog
from changeover.serving.restart import Failure, GiveUp, Restart, next_restart, remember
from changeover.serving.sockets import Sockets
from changeover.serving.status import DeploymentStatus, State
from changeover.serving.upstream import Client, Upstream
from changeover.serving.wishes import Exchange, NotHeldError, Renew, Sleep, Wish

log = logging.getLogger(__name__)

DRAINING = "finishing its last requests"
IN_PLACE = "exchanged for one that holds its adapters: memory does not hold both"


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
    find: Callable[[str], Keeper | None] = lambda name: None
    """The keeper of a deployment."""
    has_room: Callable[[str, int], bool] = lambda name, held: True
    """Whether memory holds a second process of a deployment beside its present one, which holds so many bytes."""
    riders: Callable[[str], Sequence[Keeper]] = lambda name: ()
    """Keepers of the adapters that shall run on a deployment's engine."""


class Keeper:
    """One deployment, from the moment it is asked for until it is stopped."""

    def __init__(self, plan: EnginePlan, backend: Backend, around: Surroundings) -> None:
        self.plan = plan
        self.base = plan.options_as(AdapterOptions).base if plan.backend == "adapter" else None
        """Of an adapter: the deployment whose engine it shares."""
        self.state: State = "starting"
        self._detail = ""
        self._backend = backend
        self._around = around
        self._log = EngineLog(around.log_dir / f"{plan.deployment}.log")
        self.life: Life | None = None
        """Its process, while it has one."""
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
        self._launch: Launch | None = None
        """How its process is started the next time."""
        self._proven: set[Adapter] = set()
        """Adapters that it has answered with."""
        self._swap: tuple[Exchange, Launch] | None = None
        """While its process ends for another one: what is wanted, and how it was started before."""
        self._carrier = Carrier(self, around)
        self._wish: asyncio.Future[Wish] | None = None
        """Set while its engine answers: what somebody wants to become of it."""
        self._woken = asyncio.Event()
        self._sleeps = False
        """It was unloaded, and is not back yet."""
        self._used: tuple[int, float] = (0, around.clock.monotonic())
        """Requests answered when it was last looked at, and when that was another number."""
        self._outgoing = Outgoing(plan.deployment, around.leave)
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
        asked = self.life or self._upstream
        return (0 if asked is None else asked.in_flight) + self._outgoing.in_flight

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
        return (self.state != "idle" or self._woken.is_set()) and not self.ended

    @property
    def load_s(self) -> float:
        """What its last start took; 0 before there was one."""
        return self._load_s

    def unused_s(self) -> float:
        """Since its last request ended, as far as whoever looks regularly can tell; 0 while one is under way."""
        now = self._around.clock.monotonic()
        asked = self.life or self._upstream
        if asked is not None and (self.in_flight or asked.answered != self._used[0]):
            self._used = (asked.answered, now)
        return now - self._used[1]

    def status(self) -> DeploymentStatus:
        life = self.life
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
        return self._upstream.base_url if self.life is None else self.life.address

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
        if self._upstream is not None:
            self._before_drain = self._detail
            self._become(self.state, DRAINING)
            self._tell_riders()
        # One that gets nothing new already, since it is unloaded or leaks, may have its last requests to answer still.
        asked = self.life or self._upstream
        try:
            async with asyncio.timeout(drain_s):
                if asked is not None:
                    await asked.idle()
                await self._outgoing.ended()
        except TimeoutError:
            log.warning("%s: stopped with %d requests in flight", self.plan.deployment, self.in_flight)

    def keep_on(self) -> None:
        """Take new requests again: it was draining, and shall not stop after all."""
        self._draining = False
        self._become(self.state, self._before_drain if self._detail == DRAINING else self._detail)
        self._changed.set()
        self.follow_base()
        self._tell_riders()
        self.carry()

    def unload(self, why: str) -> bool:
        """End the process once its requests are answered, and start it again when it is woken. False: not now, or never."""
        return self._ask(Sleep(why))

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
        tasks: list[asyncio.Task[Any]] = [self._task, *self._outgoing.tasks]
        tasks += [] if self._carrier.task is None else [self._carrier.task]
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

    async def exchange(self, launch: Launch, *, beside: bool = True) -> None:
        """Put a process that is started otherwise in the place of the present one. No request fails by it.

        The new one comes up beside the present one and gets all new requests from then on; the present one ends once it has
        answered its last. Whatever is started later for this deployment is started so too.

        Args:
            launch: How it is started.
            beside: Memory holds both. Else the present one ends first, and requests wait for the new one.

        Raises:
            EngineError: The new one did not come up, or there was none to replace: all is as if nobody had asked.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._ask(Exchange(launch, beside, done)):
            raise EngineError("it is busy with another change, or does not run")
        await done

    @property
    def busy(self) -> bool:
        """Nothing else can become of it now: it is being renewed, exchanged or unloaded, or shall stop, or has no process."""
        return self._wish is None or self._wish.done() or self._draining

    def _ask(self, wish: Wish) -> bool:
        if self.busy or self._wish is None:
            return False
        self._wish.set_result(wish)
        return True

    async def _run(self) -> None:
        self._announce()
        try:
            planned = replace(self.plan, adapters=tuple(self._carrier.wanted()))
            where = await asyncio.to_thread(self._backend.launch, planned)
            match where:
                case Elsewhere():
                    await self._follow(where)
                case Attached():
                    await self._ride()
                case Launch():
                    self._launch = where
                    await self._keep()
        except ChangeoverError as exc:
            self._become("failed", exc.message)
        except Exception as exc:  # a bug of ours in one deployment: said where people look, and the others go on
            log.exception("%s: the supervisor failed", self.plan.deployment)
            self._become("failed", f"the supervisor failed: {type(exc).__name__}")

    async def _keep(self) -> None:
        """Start the process again and again until that makes no sense."""
        while self._launch is not None:
            tried = self._launch
            ended = await self._live_once(tried)
            if isinstance(ended, Sleep):
                await self._sleep(ended.why)
                continue
            if isinstance(ended, Exchange):
                self._swap, self._launch = (ended, self._launch), ended.launch
                continue
            if self._swap is not None:
                self._swap_back(self._swap, ended.reason)
                continue
            if ended.ready_s is None and not self._proven.issuperset(tried.adapters):
                self._launch = await self.launch_with(())  # they may be at fault: what it was asked for comes first
            decision = self._after(ended)
            if isinstance(decision, GiveUp):
                self._become("failed", decision.reason)
                return
            self._become("restarting", ended.reason)
            await asyncio.sleep(decision.delay_s)

    def _swap_back(self, swap: tuple[Exchange, Launch], reason: str) -> None:
        """Start it as it was: what came in the place of its process did not come up."""
        self._swap, (wish, self._launch) = None, swap
        self._become("starting", f"back to what ran before: {reason}")
        if not wish.done.done():
            wish.done.set_exception(NotHeldError(reason))

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

    async def _live_once(self, launch: Launch) -> Failure | Sleep | Exchange:
        """Have it answer, by one process or by several that take each other's place, until there is none."""
        life = self.life = Life(self.plan, launch, self._log, self._around)
        leaked = False
        try:
            await self._begin(life, launch)
            while not isinstance(wished := await self._until_wished(life), str | Sleep):
                if isinstance(wished, Exchange):
                    if not wished.beside:
                        break
                    life = await self._exchanged(life, wished)
                    continue
                fresh = await self._renewed(life, wished) if wished.beside else None
                if fresh is None:
                    break
                life = fresh
            if isinstance(wished, Sleep | Exchange):
                self._sleeps = True  # whoever asks waits, as for one that is unloaded and wakes
                if isinstance(wished, Exchange):
                    self._become("starting", IN_PLACE)
                await self._hide(life, None)
                await self._outgoing.ended()  # it counts as one that holds no memory from here on
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
            self._tell_riders()
            await life.end()
            self.life = None
        return _failure(life, ended_at, reason, leaked=leaked)

    async def _begin(self, life: Life, launch: Launch) -> None:
        asks = launch.first_answer and not self._checked
        note = await life.begin(asks=asks, proven=self._proven)
        self._proven |= launch.adapters.keys()
        self._checked = self._checked or asks
        self._load_s = life.load_s
        notes = [] if note is None else [note]
        if asks:
            notes.insert(0, f"{life.load_s:.1f} s, first answer checked")
        elif self._sleeps and self._swap is None:
            notes.insert(0, f"woken in {life.load_s:.1f} s")
        self._answer_by(life, "; ".join(notes))
        if self._swap is not None and not self._swap[0].done.done():
            self._swap[0].done.set_result(None)
        self._swap = None

    async def _until_wished(self, life: Life) -> str | Wish:
        """Wait until the process ends or hangs, and say which, or until somebody wants something of it."""
        wish = self._wish = asyncio.get_running_loop().create_future()
        watching = asyncio.create_task(life.watch())
        try:
            await asyncio.wait({watching, wish}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                return wish.result()
            if wish.done() and isinstance(dropped := wish.result(), Exchange):
                dropped.done.set_exception(EngineError("its process ended"))
            return watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _renewed(self, life: Life, wish: Renew) -> Life | None:
        """Start a fresh process while the present one answers, and let it take over; None if that is not to be."""
        failure = _failure(life, self._around.clock.monotonic(), wish.why, leaked=True)
        if isinstance(next_restart(remember(self._history, failure), failure.at), GiveUp):
            return None
        try:
            fresh = await self._beside(life, life.launch)
        except EngineError as exc:
            log.warning("%s: no fresh process beside the present one: %s", self.plan.deployment, exc)
            return None
        self._after(failure)
        self._hand_over(life, fresh, f"in place of one that {wish.why}", self._around.timing.drain_s)
        return fresh

    async def _exchanged(self, life: Life, wish: Exchange) -> Life:
        """Start a process otherwise while the present one answers, and let it take over; the present one if it cannot."""
        try:
            fresh = await self._beside(life, wish.launch)
        except BaseException as exc:
            if not wish.done.done():
                wish.done.set_exception(exc if isinstance(exc, EngineError) else EngineError("it is stopped"))
            if isinstance(exc, EngineError):
                return life
            raise
        self._launch = wish.launch
        self._proven |= wish.launch.adapters.keys()
        self._hand_over(life, fresh, self._detail, None)
        if not wish.done.done():
            wish.done.set_result(None)
        return fresh

    async def _beside(self, life: Life, launch: Launch) -> Life:
        """Start another process while the present one answers.

        Raises:
            EngineError: It did not become ready; nothing is left of it.
        """
        fresh = Life(self.plan, launch, self._log, self._around)
        watching = asyncio.create_task(self._hide_when_ended(life))
        try:
            await fresh.begin(asks=False, proven=self._proven)
        except BaseException:
            await fresh.end()
            raise
        finally:
            watching.cancel()
        return fresh

    def _hand_over(self, life: Life, fresh: Life, said: str, drain_s: float | None) -> None:
        self.life, self._load_s = fresh, fresh.load_s
        self._answer_by(fresh, said)
        self._outgoing.take(life, drain_s)

    async def _hide_when_ended(self, life: Life) -> None:
        await life.watch()
        self._upstream = None
        self._announce()

    async def _hide(self, life: Life, drain_s: float | None) -> None:
        """Send nothing new to a process, and wait until its requests are answered."""
        self._upstream = None
        self._announce()
        await self._outgoing.drained(life, drain_s)

    async def _follow(self, where: Elsewhere) -> None:
        """Look for ever whether an engine that somebody else runs can answer."""
        key = self._key(where.api_key_env)
        upstream = self._around.client.upstream(self.plan.deployment, where.base_url, key, where.model)
        async for look in looks(upstream, where, self._around.timing):
            if look.there and self._upstream is None:
                self._be_ready(upstream, look.said)
            elif not look.there:
                self._upstream = self._started_at = None
                self._become("restarting" if self.state == "ready" else self.state, look.said)

    def way_to(self, adapter: str) -> Upstream | None:
        """Where an adapter on this engine is asked; None while it cannot answer."""
        return None if self.life is None or self.upstream is None else self.life.ways.get(adapter)

    def carry(self) -> None:
        """See to it that the process holds the adapters of all deployments that share it. Returns at once."""
        if self.life is not None:
            self._carrier.carry()

    async def launch_with(self, adapters: Sequence[Adapter]) -> Launch:
        """How a process is started that holds these adapters."""
        launch = await asyncio.to_thread(self._backend.launch, replace(self.plan, adapters=tuple(adapters)))
        assert isinstance(launch, Launch), "it has a process"
        return launch

    async def _ride(self) -> None:
        """Answer through the engine of another deployment, for as long as that runs."""
        assert self.base is not None, "it is an adapter"
        self.follow_base()
        base = self._around.find(self.base)
        if base is not None:
            base.carry()
        await asyncio.Event().wait()

    def follow_base(self) -> None:
        """Go where the engine is that this adapter is on; told of every change there, before any old way is closed."""
        if self.base is None or self._draining or self.ended:
            return
        base = self._around.find(self.base)
        upstream = None if base is None else base.way_to(self.plan.deployment)
        if upstream is not None:
            if upstream is not self._upstream:
                self._be_ready(upstream, f"on `{self.base}`")
            return
        self._upstream = self._started_at = None
        if base is None:
            self._become("restarting", f"waits for `{self.base}`, which does not run")
        elif base.state in ("starting", "ready"):
            self._become("starting", f"waits for `{self.base}`")
        else:
            state: State = "idle" if base.state == "idle" else "restarting"
            self._become(state, f"waits for `{self.base}`, which is {base.state}")

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

    def _answer_by(self, life: Life, detail: str) -> None:
        assert life.upstream is not None, "it has begun"
        self._be_ready(life.upstream, detail)
        self._used = (life.answered, self._around.clock.monotonic())
        self._tell_riders()
        self.carry()

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
        starts = self.life is not None and self._upstream is None and self.state == "starting"
        return str(self.life.progress) if self.life is not None and starts and not self._detail else self._detail

    def _announce(self) -> None:
        try:
            self._around.on_change(self.status())
        except Exception:  # whoever listens must not be able to stop an engine's restart
            log.exception("%s: a listener failed", self.plan.deployment)
        self._tell_riders()


def _failure(life: Life, at: float, reason: str, *, leaked: bool) -> Failure:
    return Failure(at=at, ready_s=None if life.ready_at is None else at - life.ready_at, reason=reason, leaked=leaked)

"""The supervisor: all engines of this process, by deployment. The gateway asks it for addresses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from changeover.core.clock import Clock
from changeover.core.errors import ConfigError, EngineError, nearest
from changeover.serving.backends import BACKENDS, Backend
from changeover.serving.keeper import Keeper, Surroundings
from changeover.serving.life import Timing
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.sockets import Sockets
from changeover.serving.status import DeploymentStatus
from changeover.serving.upstream import Client, ClientKind, Upstream, make_client

__all__ = ["DeploymentStatus", "Supervisor", "Timing"]


class Supervisor:
    """Starts engines, keeps them running, stops them. One per process, used from one event loop.

    That loop's thread must not end before the process: to the kernel, it is the parent that engines die with.
    """

    def __init__(
        self,
        clock: Clock,
        log_dir: Path,
        on_change: Callable[[DeploymentStatus], None] | None = None,
        *,
        backends: Mapping[BackendName, Backend] = BACKENDS,
        environment: Mapping[str, str] | None = None,
        timing: Timing | None = None,
        client: ClientKind | Client = "aiohttp",
        leave: Callable[[str], Awaitable[None]] | None = None,
        sockets: Path | None = None,
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            clock: For the time between restarts and for `started_at`.
            log_dir: Gets one file per deployment; is made when needed.
            on_change: Called in the event loop at every change of state; must not block.
            backends: How each kind of engine is launched.
            environment: Where keys of other servers are looked up, and what engines inherit parts of; None: our own.
            timing: How patient to be.
            client: What speaks to engines: a kind of our own, or one that is given, which `close` closes.
            leave: Awaited where an engine gets no more requests and is to be ended: returns once no other process has one
                there.
            sockets: A folder of this supervisor's alone, in which engines listen that can; None: all listen on ports.
        """
        self._clock = clock
        self._log_dir = log_dir.absolute()
        self._on_change = on_change or _nobody
        self._backends = backends
        self._environment = os.environ if environment is None else environment
        self._timing = timing or Timing()
        self._make: Callable[[], Client] = partial(make_client, client) if isinstance(client, str) else lambda: client
        self._sockets = None if sockets is None else Sockets(sockets)
        self._leave = leave or _left_at_once
        self._client: Client | None = None
        self._keepers: dict[str, Keeper] = {}
        self.has_room: Callable[[str, int], bool] = lambda name, held: True
        """Asked before a second process of a deployment is started beside its present one, which holds so many bytes."""

    async def ensure(self, plan: EnginePlan) -> None:
        """Start a deployment and keep it running; nothing happens if it runs already.

        Returns at once, except after a deployment that is being stopped. One that failed or was stopped starts
        afresh, with this plan.

        Raises:
            ConfigError: It runs with another plan.
        """
        while (keeper := self._keepers.get(plan.deployment)) is not None and not keeper.ended:
            if keeper.stopping:
                await keeper.wait_stopped()
                continue
            if keeper.plan.same_as(plan):
                return
            raise ConfigError(
                f"`{plan.deployment}` already runs with another plan. Stop it first, or choose another name."
            )
        if self._client is None:
            self._client = self._make()
        around = Surroundings(
            clock=self._clock,
            client=self._client,
            log_dir=self._log_dir,
            environment=self._environment,
            timing=self._timing,
            on_change=self._on_change,
            sockets=self._sockets,
            leave=self._leave,
            find=self._keepers.get,
            has_room=lambda name, held: self.has_room(name, held),
            riders=self._riders,
        )
        self._keepers[plan.deployment] = Keeper(plan, self._backends[plan.backend], around)

    async def drain(self, name: str, drain_s: float | None = None) -> None:
        """Send no new requests to a deployment, and wait until its present ones are answered, or for `drain_s` if given.

        Raises:
            EngineError: There is no deployment of that name.
        """
        await self._keeper(name).drain(drain_s)

    def keep_on(self, name: str) -> None:
        """Send new requests again to a deployment that was draining.

        Raises:
            EngineError: There is no deployment of that name.
        """
        self._keeper(name).keep_on()

    def in_flight(self, name: str) -> int:
        """Requests of this process that a deployment has not answered yet."""
        keeper = self._keepers.get(name)
        return 0 if keeper is None else keeper.in_flight

    async def stop(self, name: str, drain_s: float = 30.0) -> None:
        """Stop a deployment once its requests are answered, or after `drain_s` whatever is in flight.

        New requests are not sent there from now on.

        Raises:
            EngineError: There is no deployment of that name.
        """
        keeper = self._keeper(name)
        await keeper.drain(drain_s)
        await keeper.stop()

    def asleep(self, name: str) -> bool:
        """Whether a deployment was unloaded, and can answer once it is woken; also while it wakes."""
        keeper = self._keepers.get(self.engine_of(name))
        return keeper is not None and keeper.asleep

    def loaded(self, name: str) -> bool:
        """Whether a deployment holds memory, or is about to."""
        keeper = self._keepers.get(name)
        return keeper is not None and keeper.loaded

    def unused_s(self, name: str) -> float:
        """Seconds since the last request to a deployment ended; 0 while one is under way.

        Raises:
            EngineError: There is no deployment of that name.
        """
        return self._keeper(name).unused_s()

    def unload(self, name: str, why: str) -> bool:
        """End a deployment's process once its requests are answered; `wake` starts it again.

        False where it is busy with another change, or has no process of ours: nothing happens then.

        Raises:
            EngineError: There is no deployment of that name.
        """
        return self._keeper(name).unload(why)

    def wake(self, name: str) -> None:
        """Start a deployment that was unloaded.

        Raises:
            EngineError: There is no deployment of that name.
        """
        self._keeper(name).wake()

    def renew(self, name: str, why: str, *, beside: bool) -> None:
        """Put a fresh process in the place of a deployment's present one. See `Keeper.renew`.

        Raises:
            EngineError: There is no deployment of that name.
        """
        self._keeper(name).renew(why, beside=beside)

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment; None if it cannot answer now, or there is none."""
        keeper = self._keepers.get(name)
        return None if keeper is None else keeper.upstream

    def upstreams(self) -> dict[str, Upstream]:
        """The addresses of all deployments that can answer now."""
        found = {name: keeper.upstream for name, keeper in self._keepers.items()}
        return {name: upstream for name, upstream in found.items() if upstream is not None}

    def status(self, name: str) -> DeploymentStatus:
        """What is known of a deployment.

        Raises:
            EngineError: There is no deployment of that name.
        """
        return self._keeper(name).status()

    def statuses(self) -> list[DeploymentStatus]:
        """All deployments, by name."""
        return [keeper.status() for _, keeper in sorted(self._keepers.items())]

    async def wait_ready(self, name: str, timeout_s: float) -> None:
        """Wait until a deployment can answer.

        Raises:
            EngineError: It was given up or stopped, or is not ready after `timeout_s`; says what its engine said.
        """
        keeper = self._keeper(name)
        try:
            async with asyncio.timeout(timeout_s):
                await keeper.wait_ready()
        except TimeoutError:
            raise EngineError(f"Not ready within {timeout_s:g} s: {keeper.explained()}") from None

    async def close(self) -> None:
        """Stop everything, without waiting for requests. The supervisor can be used again."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers.values()))
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._sockets is not None:
            self._sockets.close()

    def engine_of(self, name: str) -> str:
        """The deployment whose engine answers for one: of an adapter its base, else itself."""
        keeper = self._keepers.get(name)
        if keeper is None or keeper.ended or keeper.stopping:
            return name
        return keeper.base or name

    def riders(self, name: str) -> list[str]:
        """Deployments that are adapters on another one's engine and shall run."""
        return [rider.plan.deployment for rider in self._riders(name)]

    def _riders(self, name: str) -> list[Keeper]:
        return [
            keeper for keeper in self._keepers.values() if keeper.base == name and not (keeper.ended or keeper.stopping)
        ]

    def _keeper(self, name: str) -> Keeper:
        keeper = self._keepers.get(name)
        if keeper is None:
            raise EngineError(f"No deployment named `{name}` runs here. {nearest(name, self._keepers)}")
        return keeper


async def _left_at_once(name: str) -> None:
    """Nobody else asks its engines."""


def _nobody(status: DeploymentStatus) -> None:
    """Listens to no change."""

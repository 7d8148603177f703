"""Carries adapters: exchanges the process of the engine that they share for one that holds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from changeover.core.errors import ChangeoverError
from changeover.serving.backends import Launch
from changeover.serving.life import Life
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.riders import next_load
from changeover.serving.upstream import Upstream
from changeover.serving.wishes import NotHeldError

log = logging.getLogger(__name__)

BUSY_S = 0.05
"""Between looks whether a process that something else becomes of can be exchanged."""


class Rider(Protocol):
    """The keeper of an adapter."""

    plan: EnginePlan

    def refuse(self, reason: str) -> None:
        """Give it up."""


class Base(Protocol):
    """The keeper of the engine that they share."""

    plan: EnginePlan

    @property
    def life(self) -> Life | None:
        """Its process."""

    @property
    def upstream(self) -> Upstream | None:
        """Where new requests go."""

    @property
    def busy(self) -> bool:
        """It is becoming something else already, or shall stop."""
        ...

    async def launch_with(self, adapters: Sequence[Adapter]) -> Launch:
        """How a process is started that holds these."""
        ...

    async def exchange(self, launch: Launch, *, beside: bool) -> None:
        """Put another process in the place of the present one."""


class Around(Protocol):
    """What it needs of its supervisor."""

    @property
    def riders(self) -> Callable[[str], Sequence[Rider]]: ...
    @property
    def has_room(self) -> Callable[[str, int], bool]: ...


class Carrier:
    """Sees to the adapters on one engine."""

    def __init__(self, base: Base, around: Around) -> None:
        self._base = base
        self._around = around
        self._one_by_one = False
        self.task: asyncio.Task[None] | None = None
        """Brings the process in line with the adapters that it shall hold."""

    def wanted(self) -> dict[Adapter, Rider]:
        """What the engine shall hold, and for whom."""
        return {Adapter.of(rider.plan): rider for rider in self._around.riders(self._base.plan.deployment)}

    def carry(self) -> None:
        """See to it that the process holds all that is wanted. Returns at once."""
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._carry(), name=f"adapters of {self._base.plan.deployment}")

    async def _carry(self) -> None:
        """Exchange the process for one that holds what is lacking: engines read adapters only when they start.

        It comes up beside the present one where both have one copy of the weights, or memory holds a second one.
        """
        base = self._base
        while (life := base.life) is not None and base.upstream is not None:
            riders = self.wanted()
            load = next_load([*life.launch.adapters], [*riders], one_by_one=self._one_by_one)
            if load is None:
                return
            try:
                launch = await base.launch_with(load.adapters)
                if base.busy:
                    await asyncio.sleep(BUSY_S)
                    continue
                held = life.memory_bytes or 0
                beside = launch.maps_weights or self._around.has_room(base.plan.deployment, held)
                await base.exchange(launch, beside=beside)
            except ChangeoverError as exc:
                if base.life is not life and not isinstance(exc, NotHeldError):
                    continue  # it ended meanwhile, and that was the reason
                log.warning("%s: adapters: %s", base.plan.deployment, exc)
                if len(load.new) > 1:
                    self._one_by_one = True
                    continue
                for adapter in load.new:
                    riders[adapter].refuse(f"`{base.plan.deployment}` cannot hold it: {exc.message}")

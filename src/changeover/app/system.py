"""The running system: gateways, engines and controller, put together and kept running until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from changeover.app.alias_checks import AliasChecks
from changeover.app.evaluator import Evaluator
from changeover.app.gateway import Gateway
from changeover.app.installation import Installation, usable_catalogue
from changeover.app.licence_checks import CurrentTerms
from changeover.app.listening import address_of
from changeover.app.local import announced
from changeover.app.loops import background
from changeover.app.retention import Retention
from changeover.app.shadow_scoring import ShadowScoring
from changeover.app.verified import VerifiedStates
from changeover.app.watch import watch
from changeover.app.workers import Addresses, Engines, Workers
from changeover.core.errors import ConfigError, StoreError
from changeover.core.threads import in_thread
from changeover.gateway.snapshot import Snapshot, Snapshots
from changeover.rollouts.loop import Controller
from changeover.serving.fleet import Fleet
from changeover.serving.memory import budget_bytes
from changeover.serving.occupancy import Bounds
from changeover.serving.sockets import folder_for
from changeover.serving.supervisor import DeploymentStatus, Supervisor, Timing
from changeover.store.lead import Lead
from changeover.tasks.declarations import Task

FOLLOW_S = 1.0


class System:
    """Everything that runs under `changeover up`: engines are processes of their own, and so are gateways, if several.

    Whatever there must be only one of runs in this process: the fleet, the controller, retention, the watch.
    """

    def __init__(self, installation: Installation, *, workers: int | None = None, watching: bool = False) -> None:
        """Set up; nothing runs yet.

        Args:
            installation: Prepared: see `changeover.app.prepare`.
            workers: Processes that answer, instead of `gateway.workers`; 1: this one.
            watching: Apply declarations whenever their files change.
        """
        self.installation = installation
        self._watching = watching
        project, store, clock = installation.project, installation.store, installation.clock
        kind, count = project.settings.gateway.client, workers or project.settings.gateway.workers
        engines = project.settings.engines
        addresses = Addresses(kind) if count > 1 else None
        self._supervisor = Supervisor(
            clock=clock,
            log_dir=project.state / "logs",
            on_change=self._tell,
            backends=installation.backends,
            timing=Timing(ready_base_s=engines.ready_s),
            client=addresses or kind,
            leave=self._left_by_workers,
            sockets=folder_for(project.state) if engines.listen == "unix" else None,
        )
        self.fleet = Fleet(
            store,
            lambda: usable_catalogue(project),
            project.cache,
            self._supervisor,
            clock,
            leave=self._left_by_workers,
            bounds=Bounds(
                memory_bytes=budget_bytes(engines.memory_gib),
                idle_s=engines.idle_unload_s,
                factor=engines.memory_limit,
            ),
        )
        self._workers = addresses and Workers(
            project, count, addresses, Engines(self._supervisor.upstreams, self.fleet.asleep, self.fleet.wake)
        )
        self._lead = Lead(store, "rollouts")
        self._controller = Controller(store, self.fleet.is_ready, clock, self._lead, CurrentTerms(project, clock))
        self._evaluator = Evaluator(installation, self._lead)
        self._gateway = None if self._workers else Gateway(installation, self.fleet)
        self._snapshots = self._gateway.snapshots if self._gateway else Snapshots(store, clock)
        self._alias_checks = AliasChecks(installation, self._lead)
        self._retention = Retention(store, clock, project.settings.records, self._tasks)

    @property
    def gateway(self) -> Gateway:
        """The one of this process. There is none where workers answer."""
        assert self._gateway is not None, "workers answer"
        return self._gateway

    @property
    def snapshot(self) -> Snapshot:
        """The routes that this process knows."""
        return self._snapshots.current

    def stop(self) -> None:
        """Stop as after SIGTERM; a second call does not wait for answers under way."""
        self._evaluator.stop()
        (self._workers or self.gateway).stop()

    async def serve(self, listener: socket.socket, on_listening: Callable[[str], None]) -> None:
        """Run until SIGINT or SIGTERM, then drain: answers under way end, nothing new begins, engines stop.

        Raises:
            ChangeoverError: Workers do not come up.
        """
        address = address_of(listener)
        await self._load()
        try:
            async with background(self._loops(address), on_failure=self.stop):
                _on_signals(self.stop)
                serving = asyncio.create_task((self._workers or self.gateway).serve(listener))
                try:
                    if self._workers is not None:
                        await self._workers.ready()
                    with announced(self.installation.project.state, address):
                        on_listening(address)
                        await serving
                finally:
                    serving.cancel()
                    await asyncio.wait([serving])
        finally:
            if self._gateway is not None:
                await self._gateway.close()
            await self._supervisor.close()
            self._lead.release()

    async def _load(self) -> None:
        if self._gateway is None:
            await in_thread(self._snapshots.refresh)
        else:
            await self._gateway.load()

    def _loops(self, address: str) -> list[Coroutine[Any, Any, None]]:
        return [
            self.fleet.run(),
            self._controller.run(),
            self._evaluator.run(),
            self._retention.run(),
            self._alias_checks.run(),
            VerifiedStates(self.installation).run(),
            ShadowScoring(self.installation, address, self._lead).run(),
            *([self._follow()] if self._gateway is None else self._gateway.loops()),
            *([watch(self.installation)] if self._watching else []),
        ]

    async def _follow(self) -> None:
        """Know what was applied, for whoever asks in this process; workers follow by themselves, and faster."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            with contextlib.suppress(StoreError, ConfigError):
                await in_thread(self._snapshots.refresh)

    def _tasks(self) -> Mapping[str, Task]:
        return {name: live.task for name, live in self.snapshot.tasks.items()}

    async def _left_by_workers(self, name: str) -> None:
        """Wait until no worker has a request at a deployment that gets no new ones."""
        if self._workers is not None:
            await self._workers.leave(name)

    def _tell(self, status: DeploymentStatus) -> None:
        """An engine came or went: workers shall know before any route that counts on it is written."""
        if self._workers is not None:
            self._workers.tell()


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)

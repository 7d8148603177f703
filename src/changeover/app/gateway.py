"""One gateway: the door, what it knows, and the loops that keep it up to date. One per process that answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from changeover.app.admin import Admin
from changeover.app.installation import Installation
from changeover.app.tools import ToolService
from changeover.core.errors import ConfigError, StoreError
from changeover.core.ids import new_id
from changeover.core.secrets import register_secret
from changeover.core.settings import TelemetrySettings, secret_from_environment
from changeover.core.threads import in_thread
from changeover.gateway.admin import Desk
from changeover.gateway.admit import Admission
from changeover.gateway.allowances import Allowances
from changeover.gateway.breaker import Breakers
from changeover.gateway.dispatch import Fleet
from changeover.gateway.door import Door, Parts
from changeover.gateway.feedback import Ratings
from changeover.gateway.http import BodyLimit
from changeover.gateway.keys import Keyring
from changeover.gateway.metrics import Levels, Metrics
from changeover.gateway.pages import Pages
from changeover.gateway.record import Recorder
from changeover.gateway.server import Server
from changeover.gateway.shadow import Shadows
from changeover.gateway.snapshot import Snapshot, Snapshots
from changeover.gateway.traces import Traces, collector, parse_headers
from changeover.gateway.uploads import Uploads
from changeover.gateway.usage import Usage

METRICS_DIRECTORY = "metrics"
"""In the state directory: where workers show each other what they have counted."""
KEYS_POLL_S = 1.0
MIB = 1 << 20
DRAIN_S = 60
"""Longest wait for answers under way when the gateway is asked to stop."""


class Gateway:
    """Everything that answers applications, in one process."""

    def __init__(self, installation: Installation, fleet: Fleet, *, worker: int | None = None) -> None:
        """Put the door together.

        Args:
            installation: Its store is shared with all other gateways.
            fleet: Where engines are.
            worker: Number of this process among several on one address.
        """
        self._installation = installation
        self._fleet = fleet
        self._worker = worker
        project, store, clock = installation.project, installation.store, installation.clock
        settings = project.settings.gateway
        writer = new_id("gw")
        self.snapshots = Snapshots(store, clock)
        self._keyring = Keyring()
        self._usage = Usage(writer, clock, spool=project.state)
        shared = None if worker is None else project.state / METRICS_DIRECTORY
        self._metrics = Metrics(self._levels, directory=shared, writer=writer)
        self._traces = _traces(project.settings.telemetry, writer)
        self.recorder = Recorder(store, self._usage, [self._metrics, self._traces])
        self._allowances = Allowances(store, clock, writer, spool=project.state)
        self._breakers = Breakers(failures=settings.breaker_failures, open_s=settings.breaker_open_s, clock=clock)
        self._ratings = Ratings(store, self.snapshots, clock)
        self._desk = Desk(Admin(installation))
        self.admission = Admission(settings.max_in_flight)
        self._uploads = Uploads(int(project.settings.jobs.all_uploads_mib * MIB))
        self._shadows = Shadows(
            snapshots=self.snapshots,
            fleet=fleet,
            admission=self.admission,
            recorder=self.recorder,
            prices=project.settings.prices,
            clock=clock,
            skipped=self._metrics.skipped,
        )
        self._tools = ToolService(installation, self.snapshots, self._keyring, self._metrics, lambda: self.door)
        self.door = self._made_door()
        self._server = Server(
            self.door,
            most_body_bytes=int(settings.max_body_mib * MIB),
            arrival_s=settings.arrival_s,
            drain_s=DRAIN_S,
        )

    def _made_door(self) -> Door:
        """The door, of everything that was made before it."""
        installation = self._installation
        settings = installation.project.settings
        most_upload = int(settings.jobs.max_upload_mib * MIB)
        return Door(
            Parts(
                settings=settings.gateway,
                prices=settings.prices,
                snapshots=self.snapshots,
                keyring=self._keyring,
                allowances=self._allowances,
                fleet=self._fleet,
                breakers=self._breakers,
                admission=self.admission,
                recorder=self.recorder,
                shadows=self._shadows,
                traces=self._traces,
                pages=Pages(snapshots=self.snapshots, metrics=self._metrics, state=self.state),
                ratings=self._ratings,
                admin=self._desk,
                tools=self._tools,
                most_upload=BodyLimit(most_upload, "jobs.max_upload_mib"),
                uploads=self._uploads,
                clock=installation.clock,
            )
        )

    @property
    def snapshot(self) -> Snapshot:
        """The routes that it answers with."""
        return self.snapshots.current

    def state(self) -> dict[str, Any]:
        """How it is doing, for `/healthz`."""
        return {
            **({} if self._worker is None else {"worker": self._worker}),
            "route_revision": self.snapshots.current.revision,
            "declarations": self.snapshots.current.applied,
            "store_stale": self.snapshots.stale,
            "store_stale_since": self.snapshots.stale_since,
            "limits_alone": self._allowances.gone,
            "in_flight": self.admission.in_flight,
            "upload_bytes": self._uploads.taken,
            "shadows": self._shadows.under_way,
            "records_waiting": self.recorder.waiting,
            "records_without_content": self.recorder.dropped_content,
            "records_lost": self.recorder.lost,
            **self._tools.state(),
        }

    def _levels(self) -> Levels:
        """How things stand, for `/metrics`."""
        current = self.snapshots.current
        names = {variant.deployment for live in current.tasks.values() for variant in live.variants.values()}
        engines = {name: self._fleet.upstream(name) for name in names}
        return Levels(
            in_flight=self.admission.in_flight,
            tools_in_flight=self._tools.under_way,
            records_waiting=self.recorder.waiting,
            records_without_content=self.recorder.dropped_content,
            records_lost=self.recorder.lost,
            spans_waiting=self._traces.waiting,
            spans_lost=self._traces.lost,
            store_stale=self.snapshots.stale,
            route_revision=current.revision,
            breakers_open={name: up is not None and self._breakers.is_open(up) for name, up in engines.items()},
            ready={name: self._fleet.is_ready(name) for name in engines},
        )

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What has to run beside `serve`; one that ends with an exception must stop the process."""
        return [
            self.snapshots.follow(),
            self.recorder.run(),
            self._allowances.run(),
            self._follow_keys(),
            self._metrics.run(),
            self._shadows.run(),
            self._tools.run(),
        ]

    async def load(self) -> None:
        """Read what it answers by, for the first time."""
        await asyncio.to_thread(self.snapshots.refresh)
        await asyncio.to_thread(self._usage.restore)
        await asyncio.to_thread(self._keyring.reload, self._installation.store)
        await self._tools.load()

    async def serve(self, listener: socket.socket) -> None:
        """Answer until `stop`; then answers under way end, and nothing new begins."""
        await self._server.serve(listener)

    def stop(self) -> None:
        """Stop as after SIGTERM; a second call does not wait for answers under way."""
        self._shadows.stop()
        self._tools.stop()
        self._server.stop()

    async def close(self) -> None:
        """Write what is not written yet."""
        self._ratings.close()
        self._desk.close()
        await self._shadows.close()
        await self._tools.close()
        with contextlib.suppress(StoreError):
            await self.recorder.flush()
        if self._usage.waiting:
            self._usage.keep()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._metrics.publish)
        await self._allowances.close()
        await asyncio.to_thread(self._traces.close)

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_POLL_S)
            with contextlib.suppress(StoreError):
                await in_thread(partial(self._keyring.reload, self._installation.store))


def _traces(settings: TelemetrySettings, writer: str) -> Traces:
    """Spans go where the settings say, with what the environment holds for it."""
    if settings.otlp_endpoint is None:
        return Traces()
    headers: dict[str, str] = {}
    if settings.otlp_headers_env is not None:
        held = secret_from_environment(settings.otlp_headers_env)
        if held is None:
            raise ConfigError(
                f"`telemetry.otlp_headers_env` names `{settings.otlp_headers_env}`, which is not set. Set it, or leave the key out."
            )
        headers = parse_headers(held)
        for value in headers.values():
            register_secret(value)
    export = collector(settings.otlp_endpoint, headers, {"service.instance.id": writer})
    return Traces(export, share=settings.trace_share)

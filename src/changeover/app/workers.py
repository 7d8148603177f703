"""Several gateways on one address: started, told where engines are, started again when they die, stopped together.

All of them accept from one listening socket. So a worker that dies takes with it the connections that it had accepted,
and no others: what waits in the socket's queue is taken by the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final
from weakref import WeakKeyDictionary

import msgspec

from changeover.app.gateway import DRAIN_S
from changeover.app.local import make_private
from changeover.app.logs import register_secret
from changeover.app.worker import Order, Said, Setup, Where
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Project
from changeover.serving.upstream import Client, ClientKind, Upstream, make_client
from changeover.serving.upstream.base import Address

log = logging.getLogger(__name__)

METRICS_DIRECTORY = "metrics"
"""In the state directory: where workers show each other what they have counted."""
TELL_S = 0.05
"""How often it is looked for engines that came or went without a word."""
READY_S = 60.0
STEADY_S = 10.0
"""A worker that lived for so long is started again at once; another one after a growing pause."""
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 10.0
LEAVE_S = 600.0
"""Longest wait for the requests at an engine that shall stop. By count, not by clock: this is only against a leak."""
KILL_AFTER_S = DRAIN_S + 5
MOST_LINE_BYTES = 1 << 20


@final
class Addresses:
    """The client of a supervisor whose engines other processes call: knows how each is reached, and who heard it."""

    def __init__(self, kind: ClientKind) -> None:
        self._kind: ClientKind = kind
        self._client: Client | None = None
        self._lives = 0
        self._where: WeakKeyDictionary[Upstream, Where] = WeakKeyDictionary()
        self._newest: dict[str, Upstream] = {}

    def upstream(
        self, name: str, base_url: str, secret: str | None, model: str | None, *, probe_path: str = "/v1/models"
    ) -> Upstream:
        """The way to one engine. See `Client.upstream`."""
        if self._client is None:
            self._client = make_client(self._kind)
        made = self._client.upstream(name, base_url, secret, model, probe_path=probe_path)
        self._lives += 1
        self._where[made] = Where(base_url=base_url, secret=secret, model=model, life=self._lives)
        self._newest[name] = made
        register_secret(secret)
        return made

    async def close(self) -> None:
        """Close all connections of this process."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def where(self, upstream: Upstream) -> Where:
        """How other processes reach an engine."""
        return self._where[upstream]

    def hear(self, name: str, pieces: int) -> None:
        """Another process has got pieces of answers from a deployment: whoever watches it shall not take it for hung."""
        upstream = self._newest.get(name)
        if isinstance(upstream, Address):
            upstream.heard += pieces


@dataclass(eq=False)
class _One:
    """One worker, whichever process it is at the moment."""

    number: int
    process: asyncio.subprocess.Process | None = None
    """None while there is none."""
    told: Mapping[str, Where] = field(default_factory=dict[str, Where])
    left: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    """Set when nothing of it is in flight at a deployment."""
    ready: bool = False

    def say(self, message: Setup | Order) -> None:
        stdin = None if self.process is None else self.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(msgspec.json.encode(message) + b"\n")

    def signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def gone(self) -> None:
        """Nothing of it is in flight anywhere any more."""
        self.process, self.ready = None, False
        for event in self.left.values():
            event.set()
        self.left.clear()


class Workers:
    """All workers of one system."""

    def __init__(
        self, project: Project, count: int, addresses: Addresses, upstreams: Callable[[], Mapping[str, Upstream]]
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            project: Its settings are the workers'.
            count: How many.
            addresses: Made the upstreams.
            upstreams: All engines that can answer now, by deployment.
        """
        self._project = project
        self._addresses = addresses
        self._upstreams = upstreams
        self._all = [_One(number) for number in range(1, count + 1)]
        self._listener: socket.socket | None = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Keep them answering until `stop`; then wait until answers under way have ended, and they have too.

        The listener is closed by then: the kernel would go on accepting what nobody answers.
        """
        self._listener = listener
        self._clear_metrics()
        tasks = [asyncio.create_task(self._keep(one, listener)) for one in self._all]
        telling = asyncio.create_task(self._look())
        try:
            done, _ = await asyncio.wait([*tasks, stop := asyncio.create_task(self._stop.wait())], return_when="FIRST_EXCEPTION")
            stop.cancel()
        finally:
            for task in (*tasks, telling):
                task.cancel()

    async def ready(self) -> None:
        """Wait until all of them answer, or `stop` was called.

        Raises:
            ChangeoverError: It takes too long.
        """
        try:
            async with asyncio.timeout(READY_S):
                while not self._stop.is_set() and not all(one.ready for one in self._all):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            late = ", ".join(str(one.number) for one in self._all if not one.ready)
            raise ChangeoverError(f"Workers not ready within {READY_S:g} s: `{late}`. The log says why.") from None

    def stop(self) -> None:
        """Begin to drain; a second call does not wait for answers under way."""
        self._stop.set()
        self._changed.set()
        if self._listener is not None:
            self._listener.close()
        for one in self._all:
            one.signal(signal.SIGTERM)

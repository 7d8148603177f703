"""A gateway in a process of its own: one of several that answer on the same address.

Its parent tells it over standard input what it is, where engines are, and which of them shall be left; it says over
standard output that it lives, when it is ready, which engines it hears from, and when it has no request left at one that
shall stop.
Everything else it reads from the store, as any gateway does. It ends when its parent does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec
import uvloop

from changeover.app.gateway import Gateway
from changeover.app.installation import attach
from changeover.app.logs import register_secret, set_up_logging
from changeover.app.loops import background
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Project, Settings
from changeover.core.settling import settle_in
from changeover.serving.patch import Patch
from changeover.serving.upstream import Client, Upstream, make_client

log = logging.getLogger(__name__)

HEARD_S = 0.5
"""How often the parent is told that this process is alive, and which engines are: more than once in any look of its
watchdog."""
MOST_ORDER_BYTES = 16 << 20


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is reached."""

    base_url: str
    secret: str | None
    model: str | None
    socket: str | None = None
    """Path of the Unix socket on which it listens, if it does."""
    life: int
    """Tells an engine from the same one before it was started again."""
    patch: Patch | None = None
    """Goes into the body of each request."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is; the first line that it is told."""

    number: int
    listener: int
    """Descriptor of the listening socket, inherited."""
    root: str
    """The project's directory."""
    cache: str
    settings: msgspec.Raw
    """As the parent read them: all workers have the same, whatever became of the file."""
    engines: Mapping[str, Where]


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any other line that it is told."""

    engines: Mapping[str, Where] | None = None
    """All that can answer now, by deployment; None: as before."""
    asleep: frozenset[str] = frozenset()
    """Those that can answer once they are woken. Told together with `engines`."""
    leave: str | None = None
    """Say when no request is in flight any more at this deployment, which is not among `engines`."""
    number: int = 0
    """Of this order to leave: the same deployment may be kept on after all, and left again later."""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line that it says. Whatever it says, it is alive; where there is nothing else, that is all it says."""

    ready: bool = False
    left: int | None = None
    """Number of an order to leave that is done."""
    heard: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Pieces of answers that came from each deployment since the last time."""
    asked: tuple[str, ...] = ()
    """Deployments with a request under way, or one that has ended since the last time."""
    wake: tuple[str, ...] = ()
    """Deployments to be loaded again."""


class Told:
    """Engines as the parent tells of them: the worker's fleet."""

    def __init__(self, client: Client, wake: Callable[[str], object]) -> None:
        """Know nothing yet.

        Args:
            client: Speaks to engines.
            wake: Tells the parent that a deployment is to be loaded again.
        """
        self._client = client
        self._wake = wake
        self._asleep: frozenset[str] = frozenset()
        self._asked: dict[Upstream, int] = {}
        """Requests that the parent knows to have ended."""
        self._known: dict[str, tuple[Where, Upstream]] = {}
        self._leaving: dict[str, list[Upstream]] = {}
        self._heard: dict[Upstream, int] = {}
        """Pieces that the parent knows of."""

    def upstream(self, name: str) -> Upstream | None:
        """The address of a deployment, None while it cannot answer."""
        found = self._known.get(name)
        return None if found is None else found[1]

    def is_ready(self, name: str) -> bool:
        """Whether a deployment can answer, if need be once it is loaded again."""
        return name in self._known or name in self._asleep

    def wake(self, name: str) -> bool:
        """Have a deployment loaded again; False if it is not one that can be woken."""
        if name not in self._asleep:
            return False
        self._wake(name)
        return True

    def take(self, engines: Mapping[str, Where], asleep: frozenset[str] = frozenset()) -> None:
        """Know these engines and no others. Requests under way at others go on."""
        self._asleep = asleep
        before, self._known = self._known, {}
        for name, where in engines.items():
            old = before.get(name)
            if old is None or old[0] != where:
                register_secret(where.secret)
                old = (
                    where,
                    self._client.upstream(
                        name, where.base_url, where.secret, where.model, socket=where.socket, patch=where.patch
                    ),
                )
            self._known[name] = old
        for name, (_, upstream) in before.items():
            if self.upstream(name) is not upstream:
                others = [each for each in self._leaving.get(name, []) if each.in_flight]
                self._leaving[name] = [*others, upstream]

    async def left(self, name: str) -> None:
        """Wait until no request is in flight at a deployment that is known no more."""
        for upstream in self._leaving.get(name, []):
            await upstream.idle()
        if not any(upstream.in_flight for upstream in self._leaving.get(name, [])):  # it may have come and gone again
            self._leaving.pop(name, None)

    def heard(self) -> dict[str, int]:
        """Pieces of answers that came from each engine since the last call, also from those that are being left."""
        fresh: dict[str, int] = {}
        counted, self._heard = self._heard, {}
        for name, upstream in self._reached():
            self._heard[upstream] = upstream.heard
            if pieces := upstream.heard - counted.get(upstream, 0):
                fresh[name] = fresh.get(name, 0) + pieces
        return fresh

    def asked(self) -> tuple[str, ...]:
        """Engines with a request under way, or one that has ended since the last call."""
        counted, self._asked = self._asked, {}
        found: set[str] = set()
        for name, upstream in self._reached():
            self._asked[upstream] = upstream.answered
            if upstream.in_flight or upstream.answered != counted.get(upstream, 0):
                found.add(name)
        return tuple(sorted(found))

    def _reached(self) -> list[tuple[str, Upstream]]:
        known = [(name, up) for name, (_, up) in self._known.items()]
        return [*known, *((name, up) for name, ups in self._leaving.items() for up in ups)]


class Parent:
    """The pipes to the process that started this one."""

    def __init__(self, orders: asyncio.StreamReader, answers: asyncio.WriteTransport) -> None:
        self._orders = orders
        self._answers = answers

    @classmethod
    async def reached_by(cls, answers: int) -> Parent:
        """Take over standard input, and a descriptor to answer on."""
        loop = asyncio.get_running_loop()
        orders = asyncio.StreamReader(limit=MOST_ORDER_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        # Nothing that is said may block: a parent that reads nothing must not stop the answers of its worker.
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(answers, "wb", 0))
        return cls(orders, transport)

    async def setup(self) -> Setup | None:
        """What this worker is; None if the parent is gone already."""
        line = await self._orders.readline()
        return msgspec.json.decode(line, type=Setup) if line else None

    async def orders(self) -> AsyncIterator[Order]:
        """What it is told, until the parent is gone."""
        while line := await self._orders.readline():
            yield msgspec.json.decode(line, type=Order)

    def say(self, said: Said) -> None:
        """Tell the parent, if there is one."""
        if not self._answers.is_closing():
            self._answers.write(msgspec.json.encode(said) + b"\n")

    def close(self) -> None:
        """Say no more."""
        self._answers.close()


class Calls:
    """Tells the parent which deployments are to be woken: everybody who waits says so all the time, and it is said once."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._said: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        now = time.monotonic()
        if now - self._said.get(name, -HEARD_S) >= HEARD_S:
            self._said[name] = now
            self._parent.say(Said(wake=(name,)))


class Worker:
    """The process."""

    def __init__(self, parent: Parent, setup: Setup, settings: Settings) -> None:
        self._parent = parent
        self._setup = setup
        self._settings = settings
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until SIGTERM, or until the parent is gone; then answers under way end.

        Raises:
            StoreError: The store cannot be used at the start. Later on it may go and come as it likes.
        """
        setup, settings = self._setup, self._settings
        installation = attach(Project(root=Path(setup.root), settings=settings, cache=Path(setup.cache)))
        client = make_client(settings.gateway.client)
        told = Told(client, Calls(self._parent))
        told.take(setup.engines)
        gateway = Gateway(installation, told, worker=setup.number)
        # From before the first look at the store until the last record is written: either may take its time.
        async with background([self._report(told)], on_failure=gateway.stop):
            try:
                await self._serve(gateway, told)
            finally:
                await gateway.close()
                await client.close()
                installation.store.close()

    async def _serve(self, gateway: Gateway, told: Told) -> None:
        await gateway.load()
        settle_in()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, gateway.stop)
        async with background([*gateway.loops(), self._obey(told, gateway)], on_failure=gateway.stop):
            serving = asyncio.create_task(gateway.serve(socket.socket(fileno=self._setup.listener)))
            self._parent.say(Said(ready=True))
            await serving

    async def _obey(self, told: Told, gateway: Gateway) -> None:
        async for order in self._parent.orders():
            if order.engines is not None:
                told.take(order.engines, order.asleep)
            if order.leave is not None:
                task = asyncio.create_task(self._leave(told, order.leave, order.number))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        log.warning("the process that started this one is gone; it ends")
        gateway.stop()

    async def _leave(self, told: Told, name: str, number: int) -> None:
        await told.left(name)
        self._parent.say(Said(left=number))

    async def _report(self, told: Told) -> None:
        while True:
            self._parent.say(Said(heard=told.heard(), asked=told.asked()))
            await asyncio.sleep(HEARD_S)


async def _run(answers: int) -> int:
    parent = await Parent.reached_by(answers)
    try:
        setup = await parent.setup()
        if setup is None:
            return 0
        settings = Settings.model_validate_json(bytes(setup.settings))
        _log_as(setup.number, settings)
        await Worker(parent, setup, settings).run()
    except ChangeoverError as exc:
        log.error("%s", exc)
        return 1
    finally:
        parent.close()
    return 0


def _log_as(number: int, settings: Settings) -> None:
    """Write the log as the parent does, and say in each line who writes it."""
    set_up_logging(settings.telemetry.log, sys.stderr)
    plain = logging.getLogRecordFactory()

    def numbered(*args: object, **more: object) -> logging.LogRecord:
        record = plain(*args, **more)
        record.worker = number
        return record

    logging.setLogRecordFactory(numbered)


def main() -> None:
    """Answer, and end with the parent."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    sys.exit(uvloop.run(_run(answers)))


if __name__ == "__main__":
    main()

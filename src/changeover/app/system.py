"""The running system: gateway, engines and controller in one process beside the engines' own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from changeover.app.installation import Installation
from changeover.app.local import announced
from changeover.core.errors import ConfigError, StoreError
from changeover.gateway.door import Door
from changeover.gateway.keys import Keyring
from changeover.gateway.record import Recorder
from changeover.gateway.snapshot import Snapshot, Snapshots
from changeover.library.catalogue import Catalogue
from changeover.rollouts.loop import Controller
from changeover.serving.fleet import Fleet
from changeover.serving.supervisor import Supervisor

KEYS_POLL_S = 1.0
DRAIN_S = 60
"""Longest wait for answers under way when the system is asked to stop."""


class System:
    """Everything that runs under `changeover up`, in one process beside its engines."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        project, store, clock = installation.project, installation.store, installation.clock
        self._supervisor = Supervisor(clock=clock, log_dir=project.state / "logs")
        self.fleet = Fleet(store, lambda: Catalogue.load(project.cards), project.cache, self._supervisor, clock)
        self._snapshots = Snapshots(store, installation.tasks)
        self._keyring = Keyring()
        self._recorder = Recorder(store)
        self._controller = Controller(store, self.fleet.is_ready, clock)
        door = Door(
            settings=project.settings.gateway,
            snapshots=self._snapshots,
            keyring=self._keyring,
            fleet=self.fleet,
            recorder=self._recorder,
            clock=clock,
        )
        self._server = _Server(
            uvicorn.Config(
                door,
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )

    @property
    def snapshot(self) -> Snapshot:
        """The routes that the gateway answers with."""
        return self._snapshots.current

    def stop(self) -> None:
        """Stop as after SIGTERM; a second call does not wait for answers under way."""
        self._server.stop()

    async def serve(self, listener: socket.socket, on_listening: Callable[[str], None]) -> None:
        """Run until SIGINT or SIGTERM, then drain: answers under way end, nothing new begins, engines stop."""
        address = address_of(listener)
        await asyncio.to_thread(self._snapshots.refresh)
        await asyncio.to_thread(self._keyring.reload, self.installation.store)
        loops = [self.fleet.run(), self._snapshots.follow(), self._controller.run(), self._recorder.run(), self._keys()]
        try:
            async with _background(loops, on_failure=self.stop):
                _on_signals(self.stop)
                serving = asyncio.create_task(self._server.serve(sockets=[listener]))
                with announced(self.installation.project.state, address):
                    on_listening(address)
                    await serving
        finally:
            with contextlib.suppress(StoreError):
                await self._recorder.flush()
            await self._supervisor.close()

    async def _keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_POLL_S)
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._keyring.reload, self.installation.store)


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the system has its own, because engines and the record stop after it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def stop(self) -> None:
        # A second signal does not wait for answers under way.
        self.force_exit = self.should_exit
        self.should_exit = True


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


@asynccontextmanager
async def _background(
    loops: Sequence[Coroutine[Any, Any, None]], on_failure: Callable[[], None]
) -> AsyncGenerator[None]:
    """Run loops beside the block. One that ends with an exception stops the system: it must not limp on unseen."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(lambda done: None if done.cancelled() else on_failure())
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def address_of(listener: socket.socket) -> str:
    """The address as a client writes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is started.

    Raises:
        ConfigError: It is in use, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"Cannot listen on `{host}:{port}`: {exc.strerror}. "
            "Set another `gateway.port` in changeover.toml, or 0 for any free one."
        ) from exc
    return listener

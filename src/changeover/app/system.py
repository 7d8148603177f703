"""The running system: gateway, engines and controller in one process beside the engines' own."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from changeover.app.gateway import Gateway
from changeover.app.installation import Installation
from changeover.app.local import announced
from changeover.app.loops import background
from changeover.core.errors import ConfigError
from changeover.gateway.snapshot import Snapshot
from changeover.library.catalogue import Catalogue
from changeover.rollouts.loop import Controller
from changeover.serving.fleet import Fleet
from changeover.serving.supervisor import Supervisor


class System:
    """Everything that runs under `changeover up`, in one process beside its engines."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        project, store, clock = installation.project, installation.store, installation.clock
        self._supervisor = Supervisor(
            clock=clock, log_dir=project.state / "logs", client=project.settings.gateway.client
        )
        self.fleet = Fleet(store, lambda: Catalogue.load(project.cards), project.cache, self._supervisor, clock)
        self._controller = Controller(store, self.fleet.is_ready, clock)
        self.gateway = Gateway(installation, self.fleet)

    @property
    def snapshot(self) -> Snapshot:
        """The routes that the gateway answers with."""
        return self.gateway.snapshot

    def stop(self) -> None:
        """Stop as after SIGTERM; a second call does not wait for answers under way."""
        self.gateway.stop()

    async def serve(self, listener: socket.socket, on_listening: Callable[[str], None]) -> None:
        """Run until SIGINT or SIGTERM, then drain: answers under way end, nothing new begins, engines stop."""
        address = address_of(listener)
        await self.gateway.load()
        loops = [self.fleet.run(), self._controller.run(), *self.gateway.loops()]
        try:
            async with background(loops, on_failure=self.stop):
                _on_signals(self.stop)
                serving = asyncio.create_task(self.gateway.serve(listener))
                with announced(self.installation.project.state, address):
                    on_listening(address)
                    await serving
        finally:
            await self.gateway.close()
            await self._supervisor.close()


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


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

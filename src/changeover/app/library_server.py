"""The library as a hub, in a process of its own: keys and declarations as they are now, weights from the cache."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from datetime import date

from changeover.app.asgi import serving
from changeover.app.library_files import LibraryFiles
from changeover.app.loops import background
from changeover.core.clock import Clock
from changeover.core.errors import ConfigError, StoreError
from changeover.core.threads import in_thread
from changeover.gateway.authenticate import allow, authenticate
from changeover.gateway.keys import CALLERS, Keyring
from changeover.library.serve.hub import Admit, Hub, Lines
from changeover.library.serve.repositories import Repositories, stored_in
from changeover.store.engine import Store

log = logging.getLogger(__name__)

KEYS_S = 1.0
"""A key that was revoked loads nothing any more after so long."""
LOOK_S = 2.0
"""Between two looks whether cards or the policy have changed."""
DRAIN_S = 30
"""At the end, downloads under way may go on for so long; who loses one goes on where it was."""
ANYBODY = "anybody"


class Doorkeeper:
    """Lets in who holds a key of this installation that may call tasks. A viewer's loads nothing."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keyring = Keyring()

    def __call__(self, headers: Lines) -> str:
        key = authenticate(headers, self._keyring, self._clock.now())
        allow(key, CALLERS)
        return key.name

    def reload(self) -> None:
        """Know the keys as they are now.

        Raises:
            StoreError: The store cannot be used.
        """
        self._keyring.reload(self._store)

    async def follow(self) -> None:
        """Reload for ever. While the store is gone, the keys that were known go on to open."""
        while True:
            await asyncio.sleep(KEYS_S)
            with contextlib.suppress(StoreError):
                await in_thread(self.reload)


class ServedLibrary:
    """The repositories of a project, made anew when its cards or its policy change."""

    def __init__(self, files: LibraryFiles, clock: Clock) -> None:
        """Read everything.

        Raises:
            ConfigError: A card or the policy is wrong.
        """
        self._files = files
        self.clock = clock
        self._seen = files.marks()
        self.current = self._read()

    async def follow(self) -> None:
        """Look for ever. A declaration that is wrong is said once, and what was known goes on."""
        while True:
            await asyncio.sleep(LOOK_S)
            await in_thread(self.look)

    def look(self) -> None:
        """Read again what has changed."""
        marks = self._files.marks()
        if marks == self._seen:
            return
        self._seen = marks
        try:
            self.current = self._read()
        except ConfigError as exc:
            log.error("library: as it was, for %s", exc)

    def _read(self) -> Repositories:
        return Repositories(self._files.catalogue(), self._files.policy(), stored_in(self._files.cache), self._today)

    def _today(self) -> date:
        return self.clock.now().date()


def require_loopback(host: str) -> None:
    """Refuse to open a door to the network that asks nobody who they are.

    Raises:
        ConfigError: The host is another one than this machine.
    """
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise ConfigError(
        f"`--open` asks for no key, and `{host}` can be reached from other machines. Take `--open` out, or listen on 127.0.0.1."
    )


async def serve(
    listener: socket.socket, library: ServedLibrary, store: Store | None, on_listening: Callable[[], None]
) -> None:
    """Answer until SIGINT or SIGTERM.

    Args:
        listener: Where.
        library: What there is.
        store: Whose keys open; None: whoever asks is let in.
        on_listening: Called once callers are answered.

    Raises:
        StoreError: The store's keys cannot be read.
    """
    doorkeeper = None if store is None else Doorkeeper(store, library.clock)
    if doorkeeper is not None:
        await in_thread(doorkeeper.reload)
    admit: Admit = doorkeeper or (lambda headers: ANYBODY)
    hub = Hub(lambda: library.current, admit)
    server = serving(hub, on_listening, drain_s=DRAIN_S)
    loops = [library.follow(), *([] if doorkeeper is None else [doorkeeper.follow()])]
    async with background(loops, on_failure=server.stop):
        await server.serve([listener])

"""How our own client comes to a connection: names, addresses, TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, final

import aiohappyeyeballs
from yarl import URL

from changeover.core.errors import UpstreamError
from changeover.serving.upstream import words
from changeover.serving.upstream.wire_connection import Connection, Watch

_NAMES_S: Final = 10.0
"""How long the addresses of a host name are believed."""
_NEXT_ADDRESS_S: Final = 0.25
"""Wait for one address before the next is tried beside it (RFC 8305)."""

_Address = tuple[int, int, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` gives it."""


@final
class Dialler:
    """Makes connections to one engine."""

    def __init__(
        self,
        name: str,
        base: URL,
        tls: ssl.SSLContext | None,
        watch: Watch,
        connect_s: float,
        unix: str | None = None,
    ) -> None:
        """Set up; nothing is looked up yet.

        Args:
            name: The deployment's, for messages.
            base: `http` or `https` address.
            tls: Verifies the engine's certificate; None for `http`.
            watch: Ends the silence on each connection.
            connect_s: Longest time to connect, TLS included.
            unix: Path of a Unix socket that is connected to, whatever the address says.
        """
        self._unix = unix
        self._name = name
        self._connect_s = connect_s
        self._host = base.raw_host or ""
        self._port = base.port or 0
        self._tls = tls
        self._watch = watch
        self._known: Sequence[_Address] = ()
        self._known_until = 0.0

    async def dial(self, loop: asyncio.AbstractEventLoop, pool: list[Connection], due: float) -> Connection:
        """A new connection.

        Args:
            loop: The running one.
            pool: Where the connection will wait between requests.
            due: Loop time until which it is of use.

        Raises:
            UpstreamError: It could not be made.
            TimeoutError: It was not made until `due`.
        """
        limit = loop.time() + self._connect_s
        try:
            async with asyncio.timeout_at(min(due, limit)):
                return await self._connect(loop, pool)
        except TimeoutError as exc:
            if due <= limit:
                raise
            raise UpstreamError(f"`{self._name}` {words.SLOW_TO_CONNECT}.", reached=False) from exc
        except (OSError, RuntimeError) as exc:  # uvloop reports some failed connections as RuntimeError
            raise UpstreamError(f"`{self._name}` {words.unreachable(_reason(exc))}.", reached=False) from exc

    async def _connect(self, loop: asyncio.AbstractEventLoop, pool: list[Connection]) -> Connection:
        if self._unix is not None:
            _, connection = await loop.create_unix_connection(lambda: Connection(loop, self._watch, pool), self._unix)
            connection.enter()
            return connection
        sock = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType] - bare tuples
            await self._addresses(loop), happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop
        )
        _, connection = await loop.create_connection(
            lambda: Connection(loop, self._watch, pool),
            sock=sock,
            ssl=self._tls,
            server_hostname=self._host if self._tls is not None else None,
        )
        connection.enter()
        return connection

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> Sequence[_Address]:
        if self._known_until > loop.time():
            return self._known
        literal = _literal(self._host, self._port)
        if literal is not None:
            self._known, self._known_until = (literal,), float("inf")
            return self._known
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except UnicodeError as exc:
            raise socket.gaierror(socket.EAI_NONAME, "no host name") from exc
        self._known, self._known_until = found, loop.time() + _NAMES_S
        return self._known


def _literal(host: str, port: int) -> _Address | None:
    """The address that a host already is; None if it is a name."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    if ip.scope_id is not None:
        return None  # its number has to be looked up
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))


def _reason(exc: OSError | RuntimeError) -> str:
    if isinstance(exc, socket.gaierror):
        return words.UNKNOWN_HOST
    if isinstance(exc, (ssl.SSLError, ssl.CertificateError)):
        return words.TLS_REFUSED
    return words.reason_of(exc.errno if isinstance(exc, OSError) else None)

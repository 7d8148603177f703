"""The way to engines on our own lean client: connections that are kept, httptools, and one timer for all of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import final

from yarl import URL

from changeover.core.errors import ChangeoverError, ConfigError, UpstreamError
from changeover.serving.refusals import MAX_REFUSAL_BYTES, classify, retry_after
from changeover.serving.upstream import words
from changeover.serving.upstream.base import Address, checked, whole
from changeover.serving.upstream.interface import (
    CONNECT_S,
    KEEPALIVE_S,
    MAX_ANSWER_BYTES,
    PROBE_S,
    REFUSAL_S,
    Headers,
    Patch,
)
from changeover.serving.upstream.wire_connection import SILENT, Connection, Watch
from changeover.serving.upstream.wire_dial import Dialler


@final
class WireClient:
    """Keeps what all engines' connections share: the timer, the TLS settings, the list of what is open."""

    def __init__(self, *, connect_s: float = CONNECT_S, keepalive_s: float = KEEPALIVE_S) -> None:
        """Needs a running event loop. Whoever makes it closes it.

        Args:
            connect_s: Longest time to connect, TLS included.
            keepalive_s: How long a connection waits for its next request.
        """
        self.loop = asyncio.get_running_loop()
        self.watch = Watch(self.loop, keepalive_s)
        self.connect_s = connect_s
        self.closed = False
        self._tls: ssl.SSLContext | None = None

    def upstream(
        self,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        *,
        probe_path: str = "/v1/models",
        socket: str | None = None,
        patch: Patch | None = None,
    ) -> WireUpstream:
        """The way to one engine. See `Client.upstream`."""
        return WireUpstream(self, name, base_url, secret, model, probe_path, socket, patch)

    async def close(self) -> None:
        """Close all connections."""
        self.closed = True
        await self.watch.close()

    def tls(self) -> ssl.SSLContext:
        """How certificates are verified: as the machine is set up."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


@final
class WireUpstream(Address):
    """One engine's address, asked over connections of our own."""

    def __init__(
        self,
        client: WireClient,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        probe_path: str,
        socket: str | None,
        patch: Patch | None,
    ) -> None:
        """Set the address up. See `Client.upstream`."""
        super().__init__(name, base_url, secret, model, probe_path, patch)
        base = URL(self.base_url)
        if base.scheme not in ("http", "https") or not base.raw_host:
            raise ConfigError(f"The address of `{name}` must look like `https://host/v1`.")
        self._client = client
        self._loop = client.loop
        self.now = client.loop.time
        self._pool: list[Connection] = []
        tls = client.tls() if base.scheme == "https" else None
        self._dialler = Dialler(name, base, tls, client.watch, client.connect_s, socket)
        self._heads: dict[str, bytes] = {}

    async def probe(self, timeout_s: float = PROBE_S) -> str | None:
        """Ask the engine whether it can answer, over a connection of its own. See `Upstream.probe`."""
        connection: Connection | None = None
        due = self._loop.time() + timeout_s
        try:
            # Never kept: a look must not meet a connection that is about to close.
            connection = await self._dial(due, [])
            connection.begin(self._lines("GET", self._probe_path) + b"Connection: close\r\n\r\n", b"")
            while not connection.status and connection.fault is None:
                await connection.wait(due)
            if connection.status:
                return words.unready(connection.status)
            return f"sent nothing within {timeout_s:g} s" if connection.fault is SILENT else connection.fault
        except TimeoutError:
            return f"sent nothing within {timeout_s:g} s"
        except UpstreamError as exc:
            return exc.message.removeprefix(f"`{self.name}` ").removesuffix(".")
        finally:
            if connection is not None:
                connection.abort()

    async def open(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> WireAnswer:
        """Send a body and wait for the head of the answer. See `Upstream.open`."""
        due = self._loop.time() + first_byte_s
        connection = await self._sent(path, self.outgoing(path, body, as_is=as_is), due, first_byte_s, headers)
        return WireAnswer(self, connection, due, stall_s)

    async def fetch(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
    ) -> bytes:
        """Send a body and read the whole answer. See `Upstream.fetch`."""
        due = self._loop.time() + first_byte_s
        connection = await self._sent(path, self.outgoing(path, body, as_is=True), due, first_byte_s, headers)
        if connection.done and connection.buffered <= MAX_ANSWER_BYTES:  # it came in one piece, as most do
            self.heard += 1
            self.landed()
            data = connection.take()
            connection.release()
            return data
        answer = WireAnswer(self, connection, due, stall_s)
        try:
            return await answer.read()
        finally:
            answer.close()

    async def _sent(self, path: str, body: bytes, due: float, first_byte_s: float, headers: Headers) -> Connection:
        """A connection on which the head of a good answer is here; one more request is in flight then."""
        head = self._heads.get(path) or self._head(path)
        if headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in checked(headers)])
            head = b"%bContent-Length: %d\r\n%b\r\n" % (head, len(body), lines.encode())
        else:
            head = b"%bContent-Length: %d\r\n\r\n" % (head, len(body))
        now = due - first_byte_s
        pool = self._pool
        connection: Connection | None = None
        self.in_flight += 1
        try:
            while True:
                while pool and not (connection := pool.pop()).reclaim(now):
                    connection = None
                if connection is None:
                    connection = await self._dial(due, pool)
                reused = connection.begin(head, body, alone=self.in_flight == 1)
                while not connection.status and connection.fault is None:
                    await connection.wait(due)
                status = connection.status
                if status:
                    break
                if connection.fault is SILENT:
                    raise UpstreamError(words.nothing_within(self.name, first_byte_s))
                if not reused or connection.touched:
                    raise UpstreamError(f"`{self.name}` {connection.fault}.")
                # The engine had closed a kept connection unannounced, as llama.cpp does after each stream. It did
                # nothing, and is safely asked again; each time a kept connection goes, so this ends.
                connection = None
            if not 200 <= status < 300 or b"content-encoding" in connection.fields:
                refusal = await self._refusal(connection)
                if refusal is not None:
                    connection = None
                    raise refusal
        except BaseException as exc:
            self.landed()
            if connection is not None:
                connection.abort()
            if isinstance(exc, TimeoutError):
                raise UpstreamError(words.nothing_within(self.name, first_byte_s)) from exc
            raise
        return connection

    async def _dial(self, due: float, pool: list[Connection]) -> Connection:
        if self._client.closed:
            raise UpstreamError(f"`{self.name}` {words.unreachable('its client is closed')}.")
        connection = await self._dialler.dial(self._loop, pool, due)
        if self._client.closed:
            connection.abort()
        return connection

    async def _refusal(self, connection: Connection) -> ChangeoverError | None:
        """The error for an answer that is none; its connection is given back or closed then."""
        status, fields = connection.status, connection.fields
        if 200 <= status < 300:
            encoding = fields[b"content-encoding"].decode("latin-1").strip()
            if encoding == "identity":
                return None
            connection.abort()
            return UpstreamError(words.encoded(self.name, encoding))
        due = self._loop.time() + REFUSAL_S
        said = connection.take()
        while len(said) < MAX_REFUSAL_BYTES and not connection.done and connection.fault is None:
            await connection.wait(due)
            said += connection.take()
        if connection.done:
            connection.release()
        else:
            connection.abort()
        asked = fields.get(b"retry-after")
        wait_s = retry_after(None if asked is None else asked.decode("latin-1"))
        return classify(self.name, status, said[:MAX_REFUSAL_BYTES], wait_s, secret=self._secret)

    def _head(self, path: str) -> bytes:
        head = self._heads[path] = self._lines("POST", path)
        return head

    def _lines(self, method: str, path: str) -> bytes:
        """The head of a request, without its length and its end."""
        url = self.url(path)
        lines = [
            f"{method} {url.raw_path_qs} HTTP/1.1",
            f"Host: {url.host_port_subcomponent}",
            "Content-Type: application/json",
            "Accept-Encoding: identity",
            *([] if self._secret is None else [f"Authorization: Bearer {self._secret}"]),
            "Accept: */*",
            "",
        ]
        return "\r\n".join(lines).encode()


@final
class WireAnswer:
    """What an engine answers. See `Answer`."""

    __slots__ = ("_began", "_connection", "_due", "_error", "_open", "_origin", "_stall_s", "headers", "status")

    def __init__(self, origin: WireUpstream, connection: Connection, due: float, stall_s: float) -> None:
        """Take over a connection on which the headers of an answer are here.

        Args:
            origin: Is told of every piece that is read, and once when the answer is closed.
            connection: Goes back to its pool when the answer was read to its end.
            due: Loop time until which the body has to begin.
            stall_s: Longest silence after that, seconds.
        """
        self.status = connection.status
        self.headers: Mapping[str, str] = {
            "content-type": connection.fields.get(b"content-type", b"").decode("latin-1")
        }
        self._origin = origin
        self._connection: Connection | None = connection
        self._due = due
        self._stall_s = stall_s
        self._began = False
        self._open = True
        self._error: str | None = None
        """Why reading failed; it fails so again."""

    async def read(self) -> bytes:
        """The whole body. See `Answer.read`."""
        return await whole(self, self._origin.name)

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        """Hand on the body as it arrives. See `Answer.pour`."""
        if not self._began:
            first = await self.piece()
            if not first or not into(first):
                return not first
        while (connection := self._connection) is not None:
            if connection.parts:
                self._origin.heard += 1
                if not into(connection.take()):
                    return False
            elif connection.done:
                self._connection = None
                connection.release()
            elif connection.fault is not None:
                self._fail(connection)
            else:
                await connection.flow(into, self._stall_s, self._origin)
                if connection.dammed:
                    return False
        if self._error is not None:
            raise UpstreamError(self._error)
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. See `Answer.chunks`."""
        while chunk := await self.piece():
            yield chunk

    async def piece(self) -> bytes:
        """What has arrived, or the next that does; empty at the end. See `Answer.piece`."""
        connection = self._connection
        if connection is None:
            if self._error is not None:
                raise UpstreamError(self._error)
            return b""
        if not connection.parts and not connection.done:
            origin = self._origin
            due = origin.now() + self._stall_s if self._began else self._due
            while not connection.parts and not connection.done:
                if connection.fault is not None:
                    self._fail(connection)
                await connection.wait(due)
        data = connection.take()
        self._began = True
        self._origin.heard += 1
        if connection.done:
            self._connection = None
            connection.release()
        return data

    def close(self) -> None:
        """Be done with it. See `Answer.close`."""
        if not self._open:
            return
        self._open = False
        connection = self._connection
        if connection is not None:
            self._connection = None
            if connection.done:
                connection.take()
                connection.release()
            else:
                self._error = f"`{self._origin.name}` {words.BROKEN}."
                connection.abort()
        self._origin.landed()

    def _fail(self, connection: Connection) -> None:
        """Raise for what is wrong with the connection."""
        name = self._origin.name
        if connection.fault is SILENT:
            self._error = words.silent(name, self._stall_s, began=self._began)
        else:
            self._error = f"`{name}` {connection.fault}."
        self._connection = None
        connection.abort()
        raise UpstreamError(self._error)

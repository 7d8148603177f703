"""One caller's connection: HTTP/1.1 by httptools, one request at a time, with bounds on all that arrives.

Ours because a general server's interface costs a third of a request here: docs/decisions/0009-server-and-client.md has
the figures. Parsing is llhttp's, in its strict mode.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from changeover.core.errors import RequestError
from changeover.core.ids import new_id
from changeover.gateway.envelope import envelope
from changeover.gateway.http import Head, Headers, send_json

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 64 << 10
"""Of a request's line and headers together."""
MOST_EARLY = 16
"""Requests that a caller may send before it has the answer to the first; then its connection is not read any more."""
LINGER_S = 1.0
HIGH_WATER = 128 << 10
"""Bytes of answers that wait for a caller before it counts as slow."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class Request(Protocol):
    """What the door makes of a head; it is given the body later."""

    left: bool
    """The caller went away."""
    task: asyncio.Task[None] | None


class Door(Protocol):
    """Who answers."""

    def begin(self, head: Head, /) -> Request:
        """Take a head, before there is a body; raises nothing."""
        ...

    def answer(self, request: Any, body: bytes, reply: Any, /) -> Coroutine[Any, Any, None]:
        """Answer on the reply, whatever happens."""
        ...

    def abandoned(self, request: Any, /) -> None:
        """The caller left before its request was whole."""
        ...


@dataclass(slots=True)
class State:
    """What all connections of a server share."""

    door: Door
    most_body_bytes: int
    connections: set[Connection] = field(default_factory=set["Connection"])
    draining: bool = False


class Connection(asyncio.Protocol):
    """A caller's connection, and the reply to the request that is being answered on it."""

    __slots__ = (
        "_arrived_bytes",
        "_begun",
        "_body",
        "_body_bytes",
        "_early",
        "_head_bytes",
        "_head_only",
        "_headers",
        "_keep",
        "_old",
        "_parser",
        "_refusing",
        "_request",
        "_room",
        "_started",
        "_state",
        "_transport",
        "_url",
        "busy",
        "waiting_since",
    )

    def __init__(self, state: State) -> None:
        self._state = state
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._arrived_bytes = 0
        """Of the body as it comes, framing and trailers included."""
        self._request: Request | None = None
        """The one whose body is arriving."""
        self._early: deque[tuple[Request, bytes, bool, bool, bool]] = deque()
        self._keep = True
        self._old = False
        """HTTP/1.0: the end of a stream is the end of the connection."""
        self._head_only = False
        self._started = b""
        self._room: asyncio.Future[None] | None = None
        self._refusing = False
        self._begun = True
        """A request is arriving, or the first one is due."""
        self.busy: Request | None = None
        """The one that is being answered."""
        self.waiting_since: float | None = None
        """Loop time since which a request has been arriving, or could have begun to; None while one is answered."""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._state.connections.add(self)
        self.waiting_since = asyncio.get_running_loop().time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._room_again()
        for request in (self.busy, *(each[0] for each in self._early)):
            if request is not None:
                request.left = True
                if request.task is not None:
                    request.task.cancel()
        if self._request is not None:
            self._state.door.abandoned(self._request)
        self._early.clear()
        self._parser = self._request = None

    def data_received(self, data: bytes) -> None:
        if self._refusing:
            return
        if self._request is None:
            self._head_bytes += len(data)
        else:
            self._arrived_bytes += len(data)
            if self._arrived_bytes > 2 * self._state.most_body_bytes + MOST_HEAD_BYTES:
                self._too_large()  # chunks of a few bytes each, or trailers without end
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself is answered as it is; what follows it would be another protocol.
            self._keep = False
        except httptools.HttpParserError:
            self.refuse(400, "This is no HTTP request. Check the client, or what stands between it and this gateway.")
        else:
            if self._request is None and self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._room_again()
        if not self._transport.is_closing():
            self._next()

    def _room_again(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # The parser's side.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._begun = True
        if self.busy is None:
            self.waiting_since = asyncio.get_running_loop().time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is not None:  # a trailer: nobody reads it
            return
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._refusing:
            return
        if self._head_bytes > MOST_HEAD_BYTES:
            size = len(self._url) + sum(map(len, chain(*self._headers)))
            if size > MOST_HEAD_BYTES:
                self._refuse_head()
                return
        self._head_bytes = 0
        self._body = []
        self._body_bytes = self._arrived_bytes = 0
        path = httptools.parse_url(self._url).path.decode("ascii", "replace")
        head = Head(self._parser.get_method().decode("ascii"), unquote(path) if "%" in path else path, self._headers)
        self._request = self._state.door.begin(head)
        expected = False
        for name, value in self._headers:
            if name == b"content-length" and int(value) > self._state.most_body_bytes:
                self._too_large()
                return
            if name == b"expect" and value.lower() == b"100-continue":
                expected = True
        if expected and self.busy is None:
            self._transport.write(_CONTINUE)

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > self._state.most_body_bytes:
            self._too_large()
        elif not self._refusing:
            self._body.append(part)

    def on_message_complete(self) -> None:
        request, self._request = self._request, None
        self._begun = False
        if request is None or self._refusing:
            return
        parser, parts = self._parser, self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._body = []
        keep, old = parser.should_keep_alive(), parser.get_http_version() == "1.0"
        head_only = parser.get_method() == b"HEAD"
        if self.busy is None and self._room is None and not self._early:
            self._answer(request, body, keep, old, head_only)
            return
        self._early.append((request, body, keep, old, head_only))
        if len(self._early) >= MOST_EARLY:
            self._transport.pause_reading()

    def _refuse_head(self) -> None:
        self.refuse(431, f"The request's headers are larger than {MOST_HEAD_BYTES >> 10} KiB.")

    def _too_large(self) -> None:
        most = self._state.most_body_bytes / (1 << 20)
        self.refuse(413, f"The request body is larger than {most:g} MiB. Send less, or raise `gateway.max_body_mib`.")

    # Answering.

    def _answer(self, request: Request, body: bytes, keep: bool, old: bool, head_only: bool) -> None:
        self.busy = request
        self.waiting_since = None
        self._keep, self._old, self._head_only = keep and not self._state.draining, old, head_only
        request.task = asyncio.get_running_loop().create_task(self._run(request, body))

    async def _run(self, request: Request, body: bytes) -> None:
        try:
            await self._state.door.answer(request, body, self)
        except asyncio.CancelledError:
            if not request.left:
                self._transport.abort()
            raise
        except Exception:  # a bug of ours: the connection must not stay open without an answer
            log.exception("a request was not answered")
            self._transport.abort()
        finally:
            self._done()

    def _done(self) -> None:
        self.busy = None
        if self._transport.is_closing():
            return
        if not self._keep or self._state.draining:
            self._transport.close()
            return
        self.waiting_since = asyncio.get_running_loop().time()
        self._next()

    def _next(self) -> None:
        """Answer a request that came early, once the caller has read the answers before it."""
        if self._early and self.busy is None and self._room is None:
            if len(self._early) >= MOST_EARLY:
                self._transport.resume_reading()
            self._answer(*self._early.popleft())

    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot become a request, and close."""
        if self._refusing or self._transport.is_closing():
            return
        self._refusing = True
        if self.busy is None:
            error = RequestError(message)
            error.status = status
            self._keep = self._head_only = False
            id = new_id("req")
            send_json(self, status, envelope(error, id), [(b"x-changeover-request-id", id.encode())])
        if self._request is not None:
            self._state.door.abandoned(self._request)
            self._request = None
        self._keep = False
        if self.busy is None:
            self._linger()

    def _linger(self) -> None:
        """Close once the caller has had time to read why: to close with unread bytes would reset the connection."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def close_idle(self) -> None:
        """Close the connection if nothing is being answered on it."""
        if self.busy is None and not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    @property
    def stuck(self) -> bool:
        """It has answers that its caller does not read."""
        return self._room is not None or self._transport.is_closing()

    def arriving(self) -> bool:
        """A request is due, and not whole."""
        return self._begun

    # The reply.

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        head = self._head(status, headers, b"content-length: %d\r\n" % len(body))
        self._write(head if self._head_only else head + body)

    def start(self, headers: Headers) -> None:
        framing = b"" if self._old else b"transfer-encoding: chunked\r\n"
        if self._old:
            self._keep = False
        self._started = self._head(200, headers, framing)

    def write(self, piece: bytes) -> None:
        framed = piece if self._old else b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._started:
            framed, self._started = self._started + framed, b""
        self._write(framed)

    def end(self, piece: bytes = b"") -> None:
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece and not self._old else piece
        if self._started:
            framed, self._started = self._started + framed, b""
        self._write(framed if self._old else framed + b"0\r\n\r\n")

    @property
    def full(self) -> bool:
        return self._room is not None

    async def drain(self) -> None:
        if self._room is not None:
            await asyncio.shield(self._room)

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _head(self, status: int, headers: Headers, framing: bytes) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if not self._keep or self._state.draining:
            framing += b"connection: close\r\n"
        return (_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status) + lines + framing + b"\r\n"

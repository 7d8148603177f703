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
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from changeover.core.errors import CapacityError, ChangeoverError, RequestError
from changeover.core.ids import new_id
from changeover.gateway.envelope import refuse
from changeover.gateway.http import READ, BodyLimit, Head, Headers, header_lines
from changeover.gateway.uploads import Upload
from changeover.serving.upstream.outbox import Outbox

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 64 << 10
"""Of a request's line and headers together."""
MOST_EARLY = 16
"""Requests that a caller may send before it has the answer to the first; then its connection is not read any more."""
MOST_PATHS = 1_000
LONGEST_PATH = 200
"""Of addresses that are remembered: callers write what they like."""
LINGER_S = 5.0
"""How long a refused caller may send nothing before the connection is closed."""
MOST_LINGER_S = 30.0
"""How long it may go on sending: many clients read an answer only when all of theirs is sent."""
HIGH_WATER = 128 << 10
"""Bytes of answers that wait for a caller before it counts as slow."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


class Request(Protocol):
    """What the door makes of a head; it is given the body later."""

    left: bool
    """The caller went away."""
    most_body: BodyLimit | None
    """Of this request's body; None: as of any other's."""
    upload: Upload | None
    """Where its body is counted; None: nowhere."""
    keeps_body: bool
    """Else whatever comes of it is forgotten: the answer is known already."""
    deadline: float
    """Monotonic time at which answering it is given up."""
    late: bool
    """That time has come; whoever answers is cancelled for it once."""


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
    most_body: BodyLimit
    loop: asyncio.AbstractEventLoop = field(init=False)
    """Kept, for to ask for the running one costs a call of the system each time."""
    outbox: Outbox = field(init=False)
    answering: int = 0
    """Requests that are being answered."""
    connections: set[Connection] = field(default_factory=set["Connection"])
    draining: bool = False
    paths: dict[bytes, str] = field(default_factory=dict[bytes, str])
    """Of addresses seen lately: the path without the query, percent-decoded."""

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take connections in an event loop from now on."""
        self.loop, self.outbox = loop, Outbox(loop)

    def path_of(self, url: bytes) -> str:
        path = self.paths.get(url)
        if path is None:
            text = httptools.parse_url(url).path.decode("ascii", "replace")
            path = unquote(text) if "%" in text else text
            if len(self.paths) >= MOST_PATHS:
                self.paths.clear()
            if len(url) <= LONGEST_PATH:
                self.paths[url] = path
        return path


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
        "_heads_bytes",
        "_heard",
        "_keep",
        "_long",
        "_most_body",
        "_old",
        "_parser",
        "_refusing",
        "_request",
        "_room",
        "_started",
        "_state",
        "_task",
        "_transport",
        "_url",
        "_wanted",
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
        """Of the head as it comes, with what may have come behind it."""
        self._heads_bytes = 0
        """Of its names and values; counted only where so much came that they may be too many."""
        self._long = False
        """So much came."""
        self._body: bytes | bytearray = b""
        """One piece, or all that came in one: a list of small pieces would take many times what is counted."""
        self._body_bytes = 0
        self._arrived_bytes = 0
        """Of the body as it comes, framing and trailers included."""
        self._most_body = state.most_body
        """Of the request that is arriving."""
        self._request: Request | None = None
        """The one whose body is arriving."""
        self._early: deque[tuple[Request, bytes, bool, bool, bool]] = deque()
        """Requests that are whole and wait for their turn; the first of them for the task to wake."""
        self._keep = True
        self._old = False
        """HTTP/1.0: the end of a stream is the end of the connection."""
        self._head_only = False
        self._started = b""
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        """Answers one request after the other: a task for each would cost as much as reading it."""
        self._wanted: asyncio.Future[None] | None = None
        """What the task waits for while there is nothing to answer."""
        self._refusing = False
        self._heard = 0.0
        """Loop time at which the caller, refused, last sent something."""
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
        self.waiting_since = self._state.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._room_again()
        if self.busy is not None:
            self.busy.left = True
        if self._task is not None:
            self._task.cancel()
        for request in (self._request, *(each[0] for each in self._early)):
            if request is not None:
                self._state.door.abandoned(request)
        self._early.clear()
        self._parser = self._request = None
        self._body = b""

    def data_received(self, data: bytes) -> None:
        if self._refusing:
            self._heard = self._state.loop.time()
            return
        if self._request is None:
            if not self._long and self._head_bytes + len(data) > MOST_HEAD_BYTES:
                self._long = True
                self._heads_bytes = self._head_bytes
            self._head_bytes += len(data)
        else:
            self._arrived_bytes += len(data)
            if self._arrived_bytes > 2 * self._most_body.most_bytes + MOST_HEAD_BYTES:
                self._too_large()  # chunks of a few bytes each, or trailers without end
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself is answered as it is; what follows it would be another protocol, and is not read.
            self._refusing = True
        except httptools.HttpParserError:
            self.refuse(400, "This is no HTTP request. Check the client, or what stands between it and this gateway.")
        else:
            if self._request is None and self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._state.loop.create_future()

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
            self.waiting_since = self._state.loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._long:
            self._heads_bytes += len(name) + len(value)
        name = name.lower()
        if name in READ:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._refusing:
            return
        if self._heads_bytes + len(self._url) > MOST_HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes = 0
        self._body = b""
        self._body_bytes = self._arrived_bytes = 0
        self._long, self._heads_bytes = False, 0
        headers, self._headers = self._headers, []  # what comes behind the body is nobody's
        state = self._state
        head = Head(self._parser.get_method().decode(), state.path_of(self._url), headers)
        if b"?" in self._url:
            head.query = (httptools.parse_url(self._url).query or b"").decode("ascii", "replace")
        self._request = request = state.door.begin(head)
        self._most_body = request.most_body or state.most_body
        for name, value in headers:
            if name == b"content-length":
                if int(value) > self._most_body.most_bytes:
                    self._too_large()
                    return
                if not self._finds_room(request, int(value)):
                    return
            elif name == b"expect" and value.lower() == b"100-continue" and self.busy is None:
                self._write(_CONTINUE)

    def on_body(self, part: bytes) -> None:
        request = self._request
        if self._refusing or request is None:
            return
        self._body_bytes += len(part)
        if self._body_bytes > self._most_body.most_bytes:
            self._too_large()
        elif request.keeps_body and self._finds_room(request, self._body_bytes):
            if not self._body:
                self._body = part
                return
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part

    def on_message_complete(self) -> None:
        request, self._request = self._request, None
        self._begun = False
        if request is None or self._refusing:
            return
        parser, body = self._parser, bytes(self._body)
        self._body = b""
        old, head_only = parser.get_http_version() == "1.0", parser.get_method() == b"HEAD"
        keep = parser.should_keep_alive() and not parser.should_upgrade()
        self._early.append((request, body, keep, old, head_only))
        if self.busy is None and self._room is None:
            self._next()
        elif len(self._early) >= MOST_EARLY:
            self._transport.pause_reading()

    def _finds_room(self, request: Request, size: int) -> bool:
        """Whether so many bytes of a body may be held; if not, it is refused."""
        if request.upload is None:
            return True
        try:
            request.upload.grow(size)
        except CapacityError as error:
            self._refuse(error)
            return False
        return True

    def _refuse_head(self) -> None:
        self.refuse(431, f"The request's headers are larger than {MOST_HEAD_BYTES >> 10} KiB.")

    def _too_large(self) -> None:
        most = self._most_body
        mib = most.most_bytes / (1 << 20)
        self.refuse(413, f"The request body is larger than {mib:g} MiB. Send less, or raise `{most.setting}`.")

    # Answering.

    def _next(self) -> None:
        """Take the next request that is whole, if none is being answered and the caller has read what was sent."""
        if not self._early or self.busy is not None or self._room is not None:
            return
        self.busy = self._early[0][0]
        self.waiting_since = None
        if self._task is None:
            self._task = self._state.loop.create_task(self._answer_all())
        elif self._wanted is not None:
            self._wanted.set_result(None)
            self._wanted = None

    async def _answer_all(self) -> None:
        state, early = self._state, self._early
        while True:
            if self.busy is None:
                self._wanted = state.loop.create_future()
                await self._wanted
            if len(early) == MOST_EARLY:
                self._transport.resume_reading()
            request, body, keep, self._old, self._head_only = early.popleft()
            self._keep = keep and not state.draining and not self._refusing
            state.answering += 1
            answering = state.door.answer(request, body, self)
            del body  # whoever answers may be done with it long before the answer is
            try:
                await answering
            except asyncio.CancelledError:
                if not request.left:
                    self._transport.abort()
                raise
            except Exception:  # a bug of ours: the connection must not stay open without an answer
                log.exception("a request was not answered")
                self._transport.abort()
            finally:
                self.busy = None
                state.answering -= 1
            del request, answering  # what was asked and answered is not kept until somebody asks again
            if self._transport.is_closing():
                return
            if not self._keep or state.draining:
                self._close()
                return
            self.waiting_since = state.loop.time()
            if early:
                state.outbox.flush()  # so that a caller who does not read is known before the next answer
            self._next()

    def refuse(self, status: int, message: str) -> None:
        """Answer what cannot become a request, and close."""
        error = RequestError(message)
        error.status = status
        self._refuse(error)

    def _refuse(self, error: ChangeoverError) -> None:
        if self._refusing or self._transport.is_closing():
            return
        self._refusing = True
        self._body = b""
        if self.busy is None:
            self._keep = self._head_only = False
            id = new_id("req")
            refuse(self, error, id, [(b"x-changeover-request-id", id.encode())])
        if self._request is not None:
            self._state.door.abandoned(self._request)
            self._request = None
        self._keep = False
        if self.busy is None:
            # Those before it that wait for the caller to read are not answered any more: the connection's end is sent.
            for request, *_ in self._early:
                self._state.door.abandoned(request)
            self._early.clear()
            self._linger()

    def _linger(self) -> None:
        """Close once the caller has had time to read why: to close with unread bytes would reset the connection."""
        self._state.outbox.flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        loop = self._state.loop
        loop.call_later(LINGER_S, self._end_linger, loop.time() + MOST_LINGER_S)

    def _end_linger(self, last: float) -> None:
        loop = self._state.loop
        now = loop.time()
        if self._transport.is_closing() or now >= last or now - self._heard >= LINGER_S:
            self._transport.abort()
        else:
            loop.call_later(LINGER_S, self._end_linger, last)

    def _close(self) -> None:
        self._state.outbox.flush()
        self._transport.close()

    def give_up_late(self, now: float) -> None:
        """Cancel the answer whose deadline has passed. Once: what is said of it then takes no time."""
        request = self.busy
        if request is not None and now >= request.deadline and not request.late and self._task is not None:
            request.late = True
            self._task.cancel()

    def close_idle(self) -> None:
        """Close the connection if nothing is being answered on it."""
        if self.busy is None and not self._transport.is_closing():
            self._close()

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

    def whole(self, status: int, headers: Headers | bytes, body: bytes) -> None:
        head = self._head(status, headers, b"content-length: %d\r\n" % len(body))
        self._write(head if self._head_only else head + body)

    def start(self, headers: Headers | bytes) -> None:
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
            state = self._state
            state.outbox.send(self._transport, data, alone=state.answering < 2)

    def _head(self, status: int, headers: Headers | bytes, framing: bytes) -> bytes:
        lines = headers if isinstance(headers, bytes) else header_lines(headers)
        if not self._keep or self._state.draining:
            framing += b"connection: close\r\n"
        return (_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status) + lines + framing + b"\r\n"

"""One connection of our own client: writes a request, takes its answer apart, says what went wrong.

All of it happens in callbacks of the event loop. Whoever waits for the engine waits for one future, which is woken
once for all that arrived together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, Protocol, cast, final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from changeover.serving.upstream import words
from changeover.serving.upstream.interface import KEEPALIVE_S
from changeover.serving.upstream.outbox import Outbox

HIGH_WATER: Final = 256 << 10
"""Bytes of a body that may wait for their reader before the engine is no longer read from."""
MAX_HEAD_BYTES: Final = 64 << 10
"""Of headers, interim answers, chunk sizes and trailers that come without any byte of a body."""
WRITE_AT_ONCE: Final = 256 << 10
"""A larger body is written in pieces of this size, as fast as the engine takes them."""
GRAIN_S: Final = 0.02
"""Least time between two looks at all connections."""
CLOSE_S: Final = 2.0
SILENT: Final = "fell silent"
"""The fault of a connection on which nothing came in time; its readers know better words."""

_KEPT: Final = frozenset({
    b"content-type", b"content-encoding", b"content-length", b"transfer-encoding", b"retry-after",
})  # fmt: skip


class _Unusable(Exception):
    """Ends the parsing of what is no answer, or none of ours."""


class Listener(Protocol):
    """Who is told that an engine is alive."""

    heard: int
    """Pieces of answers that have arrived."""


class _Nobody:
    """Nobody is told."""

    heard = 0


_NOBODY: Final = _Nobody()


@final
class Watch:
    """The connections of a client, and the one timer that ends the silence on any of them."""

    __slots__ = ("_handle", "_loop", "_none", "keepalive_s", "live", "next_at", "outbox")

    def __init__(self, loop: asyncio.AbstractEventLoop, keepalive_s: float = KEEPALIVE_S) -> None:
        self._loop = loop
        self.keepalive_s = keepalive_s
        self.outbox = Outbox(loop)
        self._handle: asyncio.TimerHandle | None = None
        self._none: asyncio.Event | None = None
        """Set when nothing is open; None while nobody waits for that."""
        self.live: set[Connection] = set()
        self.next_at = inf
        """Loop time of the next look; infinite when nothing is waited for."""

    def sooner(self, due: float) -> None:
        """Look at `due`, which is before `next_at`."""
        if self._handle is not None:
            self._handle.cancel()
        self.next_at = due
        self._handle = self._loop.call_at(due, self._look)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self.live.discard(connection)
        if self._none is not None and not self.live:
            self._none.set()

    async def close(self) -> None:
        """Close all connections and look no more."""
        if self.live:
            self._none = asyncio.Event()
            for connection in tuple(self.live):
                connection.abort()
            # Transports tell that they are closed in a later turn of the loop; nobody waits for one that does not.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._none.wait()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.next_at = inf

    def _look(self) -> None:
        now = self._loop.time()
        nearest = inf
        for connection in tuple(self.live):
            due = connection.due
            if due <= now:
                due = connection.overdue(now)
            if due < nearest:
                nearest = due
        self._handle = None
        self.next_at = inf
        if nearest < inf:
            self.sooner(max(nearest, now + GRAIN_S))


@final
class Connection(asyncio.Protocol):
    """A connection to an engine, which carries one request at a time."""

    __slots__ = (
        "_delimited", "_dry", "_fresh", "_head_size", "_into", "_keep", "_listener", "_loop", "_parser", "_paused_reading",
        "_paused_writing", "_rest", "_stall_s", "_suspect", "_transport", "_usable", "_waiter", "_watch", "buffered",
        "dammed", "done", "due", "fault", "fields", "on_body", "parts", "pool", "status", "touched",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch, pool: list[Connection]) -> None:
        """Belongs to no transport yet.

        Args:
            loop: The running one.
            watch: Ends silence.
            pool: Where it waits between requests.
        """
        self._loop = loop
        self._watch = watch
        self.pool = pool
        self.parts: list[bytes] = []
        """Pieces of the body that nobody has taken yet."""
        self.on_body = self.parts.append
        """What the parser tells of a body's piece; a method of our own would double the cost of a small one."""
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        self._waiter: asyncio.Future[None] | None = None
        self._into: Callable[[bytes], bool] | None = None
        """Where the body goes as it arrives; None: it waits for `take`."""
        self._stall_s = inf
        self._listener: Listener = _NOBODY
        self.dammed = False
        """Whoever was given the body wants no more for now."""
        self._fresh = True
        self._usable = False
        self._paused_writing = False
        self.due = inf
        """Loop time at which silence becomes a failure, or at which an idle connection is closed."""
        self.status = 0
        """Of the answer; 0 until its headers are here."""
        self.fields: dict[bytes, bytes] = {}
        """The few headers that matter, by lower-case name; the first of each."""
        self.buffered = 0
        """Bytes that have come with these; framing included, so that it is rather too large."""
        self.done = False
        """The whole answer has arrived."""
        self.fault: str | None = None
        """Why no more will arrive, in words that follow the engine's name."""
        self.touched = False
        """Something of an answer has arrived."""
        self._keep = False
        self._delimited = False
        self._paused_reading = False
        self._suspect = False
        self._head_size = 0
        self._dry = 0
        self._rest: memoryview | None = None

    def _begin_again(self) -> None:
        """Forget the last answer, which was whole and is taken: `release` sees to that."""
        self.status = self._head_size = self._dry = 0
        self.fields = {}
        self.done = self.touched = self._keep = self._delimited = False

    # What the client asks for.

    def enter(self) -> None:
        """Be watched from now on: whoever dialled has it.

        Not sooner, for when that is cancelled, uvloop closes the transport and calls no `connection_lost`.
        """
        if self._usable:
            self._watch.live.add(self)

    def begin(self, head: bytes, body: bytes, *, alone: bool = True) -> bool:
        """Write a request; whether the connection had carried one before.

        Args:
            head: Its line and headers.
            body: Its body.
            alone: No other request is under way to this engine.
        """
        reused = not self._fresh
        if reused:
            self._begin_again()
        self._fresh = False
        self.due = inf
        transport = self._transport
        if transport is None or not self._usable:
            if not self.status and self.fault is None:
                self.fault = words.NOT_ANSWERED
        elif len(body) <= WRITE_AT_ONCE:
            self._watch.outbox.send(transport, head + body, alone=alone)
        else:
            transport.write(head)
            self._rest = memoryview(body)
            self._write_on()
        return reused

    def wait(self, due: float) -> asyncio.Future[None]:
        """What to await until something has changed. By loop time `due` at the latest it is a fault."""
        self._suspect = False
        self.due = due
        if due < self._watch.next_at:
            self._watch.sooner(due)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def flow(self, into: Callable[[bytes], bool], stall_s: float, listener: Listener) -> asyncio.Future[None]:
        """What to await while each piece goes to `into` as it arrives: until the end, a fault, or `into` says no.

        Args:
            into: Gives False to be given no more; `dammed` is set then. What it raises, the future raises.
            stall_s: Longest silence.
            listener: Is told of each piece.
        """
        self.dammed = False
        self._into, self._stall_s, self._listener = into, stall_s, listener
        return self.wait(self._loop.time() + stall_s)

    def _pour(self, into: Callable[[bytes], bool]) -> bool:
        """Hand on what has arrived; True if nobody need be woken for it."""
        if not self.parts:
            return True
        self.due = self._loop.time() + self._stall_s
        self._suspect = False
        self._listener.heard += 1
        try:
            if into(self.take()):
                return True
        except Exception as exc:
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(exc)
        self._into = None
        self.dammed = True
        return False

    def take(self) -> bytes:
        """All of the body that has arrived and was not taken yet."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.buffered = 0
        if self._paused_reading:
            self._paused_reading = False
            if self._usable and self._transport is not None:
                self._transport.resume_reading()
        return data

    def release(self) -> None:
        """Go back to the pool after a whole answer, or close if nothing more may be sent here."""
        if self._keep and self._usable and self._rest is None and not self._paused_reading:
            self.pool.append(self)
            self._fresh = False
            self.due = due = self._loop.time() + self._watch.keepalive_s
            if due < self._watch.next_at:
                self._watch.sooner(due)
        else:
            self.abort()

    def reclaim(self, now: float) -> bool:
        """Whether a connection just taken from the pool can be used; it is closed if not."""
        if self._usable and self.due > now:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Close at once, whatever is under way: an engine notices, and stops working on the request."""
        self._into = None
        if self._usable and self._transport is not None:
            self._usable = False
            self._rest = None
            self._transport.abort()
        if not self.done and self.fault is None:
            self.fault = words.BROKEN
            self._wake()

    def overdue(self, now: float) -> float:
        """It is later than `due`: fail, if somebody really waits. Gives the loop time of the next look."""
        if self.done or self.fault is not None:
            self.due = inf
            if self in self.pool:
                self.pool.remove(self)
                self.abort()
        elif self._waiter is None or self._waiter.done():
            self.due = inf
        elif not self._suspect:
            # Timers may come before what has arrived meanwhile if we were the ones who were slow: look there first.
            self._suspect = True
            return now
        else:
            self._fail(SILENT)
        return inf

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._usable = True

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if self.done or parser is None:
            # More than was asked for: what it is, nobody can say, and what follows even less.
            self._keep = False
            self._retire()
            return
        if self.fault is not None:
            return
        self.touched = True
        held = len(self.parts)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self.done:
                self._fail(words.NO_HTTP)
                return
            self._keep = False
        if len(self.parts) > held:
            self._dry = 0
            self.buffered += len(data)
            if (
                self.buffered > HIGH_WATER
                and not self.done
                and not self._paused_reading
                and self._transport is not None
            ):
                self._paused_reading = True
                self._transport.pause_reading()
        elif not self.done:
            self._dry += len(data)
            if self._dry > MAX_HEAD_BYTES:
                self._fail(words.NO_HTTP)
                return
        if self._into is not None and not self.done and self._pour(self._into):
            return
        waiter = self._waiter
        if waiter is not None:
            self._waiter = self._into = None
            if not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> None:
        self._ended(None)
        self._retire()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self._usable = False
        self._watch.forget(self)
        if self.done and self in self.pool:
            self.pool.remove(self)
        self._parser = None
        self._rest = None

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._write_on()

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self.done:
            raise _Unusable  # bytes after the answer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD_BYTES:
            raise _Unusable
        name = name.lower()
        if name in _KEPT and not self.status:
            self.fields.setdefault(name, value)

    def on_headers_complete(self) -> None:
        parser = cast("HttpResponseParser", self._parser)
        status = parser.get_status_code()
        fields = self.fields
        if status < 200:
            if status < 100 or status == 101:
                raise _Unusable  # nobody asked to switch to another protocol
            fields.clear()  # an interim answer; the real one follows
            return
        coding = fields.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            raise _Unusable
        self.status = status
        self._keep = parser.should_keep_alive()
        self._delimited = coding is not None or b"content-length" in fields or status in (204, 304)

    def on_message_complete(self) -> None:
        if self.status:
            self.done = True

    def _write_on(self) -> None:
        while self._rest is not None and not self._paused_writing and self._usable and self._transport is not None:
            piece, rest = self._rest[:WRITE_AT_ONCE], self._rest[WRITE_AT_ONCE:]
            self._rest = rest if len(rest) else None
            self._transport.write(piece)

    def _ended(self, exc: Exception | None) -> None:
        """No more will arrive: because of `exc`, or because the engine closed."""
        self._keep = False
        if self.done or self.fault is not None:
            return
        if not self.status:
            self.fault = words.NOT_ANSWERED if exc is None else words.BROKEN
        elif self._delimited or exc is not None:
            self.fault = words.CUT_SHORT
        else:
            self.done = True  # this body ends where its connection ends
        self._wake()

    def _fail(self, fault: str) -> None:
        self.fault = fault
        self._retire()
        self._wake()

    def _retire(self) -> None:
        """Close the connection; what has arrived of the answer stays."""
        if self._usable and self._transport is not None:
            self._usable = False
            self._transport.abort()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = self._into = None
            if not waiter.done():
                waiter.set_result(None)

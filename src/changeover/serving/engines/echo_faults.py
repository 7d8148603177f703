"""Delivers the echo engine's answers, whole or in pieces, and fails on the way as it was told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from changeover.serving.engines.echo_answer import Behaviour
from changeover.serving.engines.echo_shapes import Shape, encode

MAX_BODY_BYTES = 64 << 20
JSON = b"application/json"
EVENTS = b"text/event-stream"
WORDLESS = {
    "error_500": (500, "the engine failed, as it was told to", "server_error", None),
    "error_503": (503, "the engine is loading, as it was told to say", "unavailable_error", b"1"),
    "error_429": (429, "too many requests, as it was told to say", "rate_limit", b"1"),
    "error_429_bare": (429, "too many requests, as it was told to say", "rate_limit", None),
}
"""Faults that are a status: with its message, its type, and how long to wait."""
BROKEN_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "this is no\n\n'
NO_JSON = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n"
OTHER_SHAPE = {"detail": "this is not the answer to what was asked"}
BREAKS_OFF = frozenset({"cut_before_first", "cut_after", "stall_after"})
TRICKLE_BYTES_A_TURN = 16
"""Single bytes that are written before others may run, unless there is a pause between them."""

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Caller:
    """The other end of one request: what it sent, whether it is still there, and how to cut it off."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport | None = scope["state"].get("transport")
        self._receive = receive
        self._leaving: asyncio.Future[None] | None = None
        self._cut = False
        self.send = send
        self.sent_bytes = 0
        """Of the answer, as far as the connection took them."""

    @property
    def left(self) -> bool:
        """It went away by itself, as far as anybody looked."""
        return not self._cut and self._leaving is not None and self._leaving.done()

    async def body(self) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise ValueError("The body is too long")
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def say(self, part: bytes, *, more: bool = True) -> None:
        """Send a part of the answer; waits while the other end does not read."""
        await self.send({"type": "http.response.body", "body": part, "more_body": more})
        self.sent_bytes += len(part)

    async def pause(self, seconds: float) -> bool:
        """Wait; False as soon as the caller is gone."""
        if seconds <= 0:
            return True
        gone = self._watched()
        await asyncio.wait({gone}, timeout=seconds)
        return not gone.done()

    async def wait_until_gone(self) -> None:
        await self._watched()

    def cut(self, *, at_once: bool = False) -> None:
        """End the connection in the middle; `at_once`: without even what was sent before."""
        self._cut = True
        if self._transport is not None:
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()

    async def trickle(self, raw: bytes, pause_s: float) -> None:
        """Write a whole HTTP answer, headers too, one byte at a time; then close the connection."""
        transport = self._transport
        assert transport is not None, "only a real connection can be written to like this"
        gone = self._watched()
        for place in range(len(raw)):
            if gone.done():
                return
            transport.write(raw[place : place + 1])
            if pause_s > 0:
                await asyncio.wait({gone}, timeout=pause_s)
            elif place % TRICKLE_BYTES_A_TURN == 0:
                await asyncio.sleep(0)
        self.cut()
        await gone

    def forget(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()

    def _watched(self) -> asyncio.Future[None]:
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._wait_for_disconnect())
        return self._leaving

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


@dataclass(frozen=True)
class Delivery:
    """One answer on its way to one caller."""

    caller: Caller
    behaviour: Behaviour
    fault: str

    async def before_words(self) -> bool:
        """Fail as one can without an answer; False if there shall be one."""
        if self.fault == "refuse":
            self.caller.cut(at_once=True)
        elif self.fault == "hang":
            await self.caller.wait_until_gone()
        elif self.fault in WORDLESS:
            status, message, kind, wait_s = WORDLESS[self.fault]
            await refuse(self.caller.send, status, message, kind, wait_s)
        else:
            return False
        return True

    async def whole(self, shape: Shape) -> None:
        """Send an answer that is not streamed."""
        if not await self.caller.pause(self.behaviour.delay_s):
            return
        body = shape.whole()
        if self.fault == "malformed_event":
            body = body[: len(body) // 2]
        elif self.fault in ("wrong_json", "wrong_shape", "empty_answer"):
            await self._instead()
            return
        elif self.fault == "trickle":
            await self._trickle(body, JSON)
            return
        await start(self.caller.send, 200, JSON, _length(body))
        if self.fault not in BREAKS_OFF:
            await self.caller.say(body, more=False)
            return
        if self.fault != "cut_before_first":
            await self.caller.say(body[: len(body) // 2])
        await self._break_off()

    async def stream(self, shape: Shape) -> None:
        """Send an answer as events."""
        if self.fault in ("wrong_json", "empty_answer"):
            await self._instead(EVENTS)
            return
        if self.fault == "trickle":
            if await self.caller.pause(self.behaviour.delay_s):
                await self._trickle(_joined(shape), EVENTS)
            return
        await start(self.caller.send, 200, EVENTS)
        if self.fault == "cut_before_first":
            await self._break_off()
        elif await self.caller.pause(self.behaviour.delay_s):
            await self._events(shape)

    async def _events(self, shape: Shape) -> None:
        if self.fault == "wrong_shape":
            await self.caller.say(b"data: " + encode(OTHER_SHAPE) + b"\n\n", more=False)
            return
        opening = shape.opening()
        if opening:
            await self.caller.say(opening)
        breaks = self.fault in BREAKS_OFF
        spoils = self.fault == "malformed_event"
        for number, piece in enumerate(shape.pieces()):
            if breaks and number >= self.behaviour.fault_after:
                break
            if spoils and number == self.behaviour.fault_after:
                await self.caller.say(BROKEN_EVENT)
                spoils = False
            if number and not await self.caller.pause(self.behaviour.chunk_delay_s):
                return
            await self.caller.say(piece)
        if breaks:  # also after fewer pieces than were to go out: it fails before it says that it is done
            await self._break_off()
            return
        end = (BROKEN_EVENT if spoils else b"") + shape.closing()
        await self.caller.say(end if self.fault == "no_done" else end + shape.end_mark(), more=False)

    async def _instead(self, empty_type: bytes = JSON) -> None:
        """Send something with status 200 that is no answer."""
        content_type, body = {
            "wrong_json": (b"text/html", NO_JSON),
            "wrong_shape": (JSON, encode(OTHER_SHAPE)),
            "empty_answer": (empty_type, b""),
        }[self.fault]
        await start(self.caller.send, 200, content_type, _length(body))
        await self.caller.say(body, more=False)

    async def _trickle(self, body: bytes, content_type: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        await self.caller.trickle(head % (content_type, len(body)) + body, self.behaviour.chunk_delay_s)

    async def _break_off(self) -> None:
        if self.fault != "stall_after":
            self.caller.cut()
        await self.caller.wait_until_gone()


async def start(send: Send, status: int, content_type: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send an answer's status and headers."""
    fixed = [(b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fixed})


async def respond(send: Send, status: int, value: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> None:
    """Send a JSON object as the whole answer."""
    body = encode(value)
    await start(send, status, JSON, _length(body), *headers)
    await send({"type": "http.response.body", "body": body})


async def refuse(
    send: Send, status: int, message: str, kind: str, wait_s: bytes | None = None, more: Mapping[str, Any] | None = None
) -> None:
    """Send an error."""
    headers = () if wait_s is None else ((b"retry-after", wait_s),)
    error = {"message": message, "type": kind, "param": None, "code": status, **(more or {})}
    await respond(send, status, {"error": error}, *headers)


def _joined(shape: Shape) -> bytes:
    opening = shape.opening()  # in this order: a stream numbers its events as it makes them
    return opening + b"".join(shape.pieces()) + shape.closing() + shape.end_mark()


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()

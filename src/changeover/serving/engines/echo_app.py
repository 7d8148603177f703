"""The echo engine's answers: OpenAI's shapes, as a real engine sends them, without a model and with faults on demand."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex
from time import time
from typing import Any, cast

import msgspec

from changeover import __version__

MAX_BODY_BYTES = 64 << 20

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the engine answers and fails: `EchoOptions`, already checked by the parent, with durations in seconds.

    Not that class itself: its validation library would take a third of the engine's start.
    """

    reply: str
    delay_s: float
    chunk_delay_s: float
    chunks: int
    fault: str
    fault_after: int
    fault_rate: float
    ready_delay_s: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one request is answered with, before it is put into any shape."""

    model: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    id: str
    created: int

    def whole(self) -> bytes:
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return _encode({**self._head("chat.completion"), "choices": [choice], "usage": self.usage()})

    def event(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def usage_event(self) -> bytes:
        return _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()})

    def usage(self) -> dict[str, int]:
        """Tokens of this engine are words."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        fingerprint = f"echo-{__version__}"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": fingerprint,
        }


class EchoApp:
    """The engine as an ASGI application. It keeps counters and nothing else."""

    def __init__(self, model: str, secret: str, behaviour: Behaviour) -> None:
        self._model = model
        self._authorization = f"Bearer {secret}".encode()
        self._behaviour = behaviour
        self.requests = 0
        self.active = 0
        self.abandoned = 0
        """Requests whose caller left before the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == "/health":
            await _respond(send, 200, {"status": "ok"})
        elif not self._allowed(scope["headers"]):
            await _refuse(send, 401, "Invalid API key", "authentication_error")
        elif path == "/v1/chat/completions" and method == "POST":
            await self._chat(scope, receive, send)
        elif path == "/v1/models" and method == "GET":
            card = {"id": self._model, "object": "model", "created": int(time()), "owned_by": "changeover"}
            await _respond(send, 200, {"object": "list", "data": [card]})
        elif path == "/v1/echo/counters" and method == "GET":
            counters = {"requests": self.requests, "active": self.active, "abandoned": self.abandoned}
            await _respond(send, 200, counters)
        else:
            await _refuse(send, 404, f"No route {method} {path}", "not_found_error")

    def _allowed(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._authorization)

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = _Caller(scope, receive, send)
        try:
            fields = _fields(await caller.body())
            prompt = [_text(message) for message in _messages(fields)]
        except ValueError as exc:
            await _refuse(send, 400, str(exc), "invalid_request_error")
            return
        self.requests += 1
        self.active += 1
        try:
            await self._answer(caller, self._reply(fields, prompt), fields, self._fault())
        finally:
            self.active -= 1
            self.abandoned += caller.left
            caller.forget()

    def _fault(self) -> str:
        """Spread evenly: at a rate of 0.25 every fourth request has the fault."""
        rate, number = self._behaviour.fault_rate, self.requests
        return self._behaviour.fault if int(number * rate) > int((number - 1) * rate) else "none"

    def _reply(self, fields: Mapping[str, Any], prompt: list[str]) -> Reply:
        last = next(
            (
                text
                for message, text in zip(reversed(_messages(fields)), reversed(prompt), strict=True)
                if message.get("role") == "user"
            ),
            "",
        )
        text = last if self._behaviour.reply == "echo" else self._behaviour.reply
        words = text.split()
        asked = fields.get("max_completion_tokens") or fields.get("max_tokens")
        most = asked if isinstance(asked, int) else len(words)
        cut = len(words) > most
        return Reply(
            model=self._model,
            text=" ".join(words[:most]) if cut else text,
            finish_reason="length" if cut else "stop",
            prompt_tokens=sum(len(each.split()) for each in prompt),
            completion_tokens=min(len(words), most),
            id=f"chatcmpl-{token_hex(12)}",
            created=int(time()),
        )

    async def _answer(self, caller: _Caller, reply: Reply, fields: Mapping[str, Any], fault: str) -> None:
        if fault == "refuse":
            caller.cut(at_once=True)
        elif fault == "hang":
            await caller.wait_until_gone()
        elif fault == "error_500":
            await _refuse(caller.send, 500, "the engine failed, as it was told to", "server_error")
        elif fault == "error_429":
            await _refuse(caller.send, 429, "too many requests, as it was told to say", "rate_limit", b"1")
        elif fields.get("stream") is True:
            await self._stream(caller, reply, _wants_usage(fields), fault)
        elif await caller.pause(self._behaviour.delay_s):
            await self._whole(caller, reply.whole(), fault)

    async def _whole(self, caller: _Caller, body: bytes, fault: str) -> None:
        await _start(caller.send, 200, b"application/json", (b"content-length", str(len(body)).encode()))
        if fault == "none":
            await caller.send({"type": "http.response.body", "body": body})
            return
        if fault != "cut_before_first":
            await caller.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self._fail(caller, fault)

    async def _stream(self, caller: _Caller, reply: Reply, usage: bool, fault: str) -> None:
        behaviour = self._behaviour
        await _start(caller.send, 200, b"text/event-stream")
        if fault == "cut_before_first":
            await self._fail(caller, fault)
            return
        if not await caller.pause(behaviour.delay_s):
            return
        await caller.say(reply.event({"role": "assistant", "content": ""}))
        for number, piece in enumerate(_pieces(reply.text, behaviour.chunks)):
            if fault != "none" and number >= behaviour.fault_after:
                await self._fail(caller, fault)
                return
            if number and not await caller.pause(behaviour.chunk_delay_s):
                return
            await caller.say(reply.event({"content": piece}))
        if fault != "none":  # fewer chunks than were to go out first: it fails before it says that it is done
            await self._fail(caller, fault)
            return
        end = reply.event({}, reply.finish_reason) + (reply.usage_event() if usage else b"") + b"data: [DONE]\n\n"
        await caller.send({"type": "http.response.body", "body": end})

    async def _fail(self, caller: _Caller, fault: str) -> None:
        if fault != "stall_after":
            caller.cut()
        await caller.wait_until_gone()


class _Caller:
    """The other end of one request: what it sent, whether it is still there, and how to cut it off."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport | None = scope["state"].get("transport")
        self._receive = receive
        self._leaving: asyncio.Future[None] | None = None
        self._cut = False
        self.send = send

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

    async def say(self, event: bytes) -> None:
        await self.send({"type": "http.response.body", "body": event, "more_body": True})

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


def _fields(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("The body is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("The body is not a JSON object")
    return cast("dict[str, Any]", value)


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("'messages' is required")
    return cast("list[dict[str, Any]]", messages)


def _text(message: Any) -> str:
    """A message's words; of one in parts, those of its text parts."""
    if not isinstance(message, dict):
        raise ValueError("Each message must be an object")
    content = cast("dict[str, Any]", message).get("content")
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        texts = [cast("dict[str, Any]", part).get("text") for part in parts if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _wants_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and cast("dict[str, Any]", options).get("include_usage") is True


def _pieces(text: str, most: int) -> Iterator[str]:
    """The text in at most so many pieces, cut between words; together they are the text again."""
    words = text.split(" ")
    size = -(-len(words) // most)
    for start in range(0, len(words), size):
        piece = " ".join(words[start : start + size])
        yield piece + " " if start + size < len(words) else piece


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


async def _start(send: Send, status: int, content_type: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = [(b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fixed})


async def _respond(send: Send, status: int, value: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> None:
    body = _encode(value)
    await _start(send, status, b"application/json", (b"content-length", str(len(body)).encode()), *headers)
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, status: int, message: str, kind: str, wait_s: bytes | None = None) -> None:
    headers = () if wait_s is None else ((b"retry-after", wait_s),)
    error = {"message": message, "type": kind, "param": None, "code": status}
    await _respond(send, status, {"error": error}, *headers)

"""Asking tasks through the gateway's own door: the stages, limits, usage and records of any application's request.

Only the network is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import AuthenticationError, CapacityError, UpstreamError
from changeover.core.ids import new_id
from changeover.gateway.door import Door
from changeover.gateway.endpoints import CHAT
from changeover.gateway.http import Head, Headers
from changeover.gateway.keys import Key
from changeover.gateway.routes import find_route
from changeover.gateway.sse import events, payload
from changeover.gateway.visit import Visit
from changeover.tools.caller import Answered

LOOK_S = 1.0
"""How often it is looked whether a task's time is over, beside the moment when it should be."""
LEAST_PATIENCE_S = 0.5
MOST_PATIENCE_S = 120.0
"""Who is told to come again after longer, by a budget of a month, is not served by waiting."""
MOST_ANSWER_BYTES = 32 << 20
TRACED = (b"traceparent", b"tracestate")
_ROUTE = find_route(CHAT.path, "POST")


@dataclass(frozen=True, kw_only=True)
class DoorCaller:
    """Asks as the key of whoever runs the tool."""

    door: Door
    key: Callable[[], Key | None]
    """As it is now: one that is revoked asks no more."""
    run: str
    """Id of the run. One run stays on one side of a canary."""
    clock: Clock
    headers: Headers = ()
    """Of the request that runs the tool, for traces."""
    patient: bool = False
    """Waits where it is told to come again soon: until the run's time is over."""

    async def ask(
        self, task: str, messages: Sequence[Mapping[str, Any]], *, on_text: Callable[[str], None] | None = None
    ) -> Answered:
        """Ask once. See `TaskCaller`."""
        while True:
            try:
                return await self._ask(task, messages, on_text)
            except CapacityError as error:
                if not self.patient or error.retry_after_s > MOST_PATIENCE_S:
                    raise
                await asyncio.sleep(max(error.retry_after_s, LEAST_PATIENCE_S))

    async def _ask(
        self, task: str, messages: Sequence[Mapping[str, Any]], on_text: Callable[[str], None] | None
    ) -> Answered:
        body: dict[str, Any] = {"model": task, "messages": messages, "user": self.run}
        if on_text is not None:
            body["stream"] = True
        visit = self._visit()
        reply = _Kept(on_text)
        answering = asyncio.create_task(self.door.answer(visit, msgspec.json.encode(body), reply))
        try:
            await self._watched(visit, answering)
        except asyncio.CancelledError:
            visit.left = True
            answering.cancel()
            await asyncio.wait([answering])
            raise
        answering.result()
        if visit.error is not None:
            raise visit.error
        return _answered(visit, reply)

    def _visit(self) -> Visit:
        key = self.key()
        if key is None:
            raise AuthenticationError(
                "The API key of this run was revoked, or has expired. Run it again with another: `changeover key new NAME`."
            )
        head = Head("POST", CHAT.path, [header for header in self.headers if header[0] in TRACED])
        visit = Visit(new_id("req"), head, self.clock.now(), self.clock.monotonic())
        visit.route, visit.key = _ROUTE, key
        return visit

    async def _watched(self, visit: Visit, answering: asyncio.Task[None]) -> None:
        """Wait for an answer, and give it up at its deadline, as a connection's server does for its callers."""
        while not answering.done():
            left_s = visit.deadline - self.clock.monotonic()
            await asyncio.wait([answering], timeout=min(max(left_s, 0.0), LOOK_S))
            if not answering.done() and not visit.late and self.clock.monotonic() >= visit.deadline:
                visit.late = True
                answering.cancel()


@dataclass
class _Kept:
    """A reply that goes nowhere: what was answered, and the pieces of a stream as they come."""

    on_text: Callable[[str], None] | None
    body: bytes = b""
    pieces: list[str] = field(default_factory=list[str])
    finish: str | None = None
    size: int = 0
    full: bool = False

    def whole(self, status: int, headers: Headers | bytes, body: bytes) -> None:
        del status, headers
        self.body = body

    def start(self, headers: Headers | bytes) -> None:
        del headers

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > MOST_ANSWER_BYTES:
            return  # said at the end
        for event in events(piece):
            try:
                fields = payload(event)
            except UpstreamError:
                return  # the last event of a stream that broke off; the visit holds the error itself
            self._take({} if fields is None else fields)

    def end(self, piece: bytes = b"") -> None:
        self.write(piece)

    async def drain(self) -> None:
        """Nobody has to read it."""

    def _take(self, fields: Mapping[str, Any]) -> None:
        for choice in cast("list[dict[str, Any]]", fields.get("choices") or [])[:1]:
            said = cast("dict[str, Any]", choice.get("delta") or {}).get("content")
            self.finish = choice.get("finish_reason") or self.finish
            if isinstance(said, str) and said:
                self.pieces.append(said)
                if self.on_text is not None:
                    self.on_text(said)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Completion).decode


def _answered(visit: Visit, reply: _Kept) -> Answered:
    """What an application would have read, and who answered.

    Raises:
        UpstreamError: The answer is no text, or too long.
    """
    if reply.size > MOST_ANSWER_BYTES:
        raise UpstreamError(f"The model's answer is longer than {MOST_ANSWER_BYTES >> 20} MiB.")
    text, finish = "".join(reply.pieces), reply.finish
    if reply.on_text is None:
        try:
            choice = _decode(reply.body).choices[0]
        except (msgspec.DecodeError, IndexError) as exc:
            raise UpstreamError("The model's answer holds no text.") from exc
        text, finish = choice.message.content or "", choice.finish_reason
    opened, call = visit.opened, visit.call
    return Answered(
        text=text,
        deployment="" if opened is None else opened.way.variant.deployment,
        revision=None if call is None else call.live.route.revision,
        prompt_tokens=visit.delivery.prompt_tokens or 0,
        completion_tokens=visit.delivery.completion_tokens or 0,
        cut_off=finish == "length",
    )

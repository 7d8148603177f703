"""Stage 6: pass the answer on, and read its usage from the side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from changeover.core.errors import ChangeoverError, UpstreamError
from changeover.gateway.alike import Alike, alike
from changeover.gateway.assembled import texts_in, words_in
from changeover.gateway.contract.usage import estimated_usage
from changeover.gateway.endpoints import CHAT, Counts, Endpoint
from changeover.gateway.envelope import error_event
from changeover.gateway.http import EVENTS_TYPE, JSON_TYPE, Reply, header_lines
from changeover.gateway.open import Opened
from changeover.gateway.resolve import Call
from changeover.gateway.sse import Cutter, events, looks_whole, payload, telling_from

MOST_KEPT_BYTES = 1 << 20
"""Of a stream's content, for the record and for counting what the engine did not count."""
MOST_CHECKED_BYTES = 32 << 20
"""Where the whole text must have a shape."""
MOST_UNLIKE = 8
"""Events in turn that were no pattern for the next; then the stream is one whose events are never alike."""
JSON_LINE = header_lines((JSON_TYPE,))
EVENTS_LINES = header_lines((EVENTS_TYPE, (b"cache-control", b"no-cache")))
_encode = msgspec.json.Encoder().encode


class Delivery(msgspec.Struct):
    """How the answer went out; filled as it goes, so that a broken one is recorded too."""

    started: bool = False
    """Headers are out: an error can no longer change the status."""
    ended: bool = False
    """The last byte is on its way: the caller may leave."""
    first_at: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    estimated: bool = False
    """The tokens are ours, because the engine gave none."""
    truncated: bool = False
    kept: Sequence[bytes] = ()
    """Raw events or body."""
    kept_bytes: int = 0
    kept_from: int = 0
    """Where in `kept` the answer of whoever goes on begins."""
    before: Counts = Counts(0, 0)
    """Tokens of those who broke off before."""

    def begin_again(self) -> None:
        """Know that whoever was answering broke off, and that another goes on: what was counted so far is added to."""
        self.before = Counts(self.prompt_tokens, self.completion_tokens)
        self.prompt_tokens = self.completion_tokens = None
        self.kept_from = len(self.kept)

    def count(self, prompt: int | None, completion: int | None) -> None:
        """Take the tokens of whoever answers now."""
        before = self.before
        if prompt is not None:
            self.prompt_tokens = prompt + (before.prompt or 0)
        if completion is not None:
            self.completion_tokens = completion + (before.completion or 0)

    def newest(self) -> bytes:
        """What is kept of whoever answers now."""
        return b"".join(self.kept[self.kept_from :])


def relay_whole(opened: Opened, body: bytes, reply: Reply, lines: bytes, delivery: Delivery) -> None:
    """Send a whole answer."""
    delivery.estimated = opened.estimated
    counts = opened.counts
    if counts is not None:
        delivery.prompt_tokens, delivery.completion_tokens = counts.prompt, counts.completion
    delivery.kept = (body,)
    delivery.kept_bytes = len(body)
    delivery.started = delivery.ended = True
    reply.whole(200, JSON_LINE + lines, body)


async def relay_stream(call: Call, opened: Opened, reply: Reply, lines: bytes, delivery: Delivery) -> None:
    """Send a stream as it comes.

    Raises:
        UpstreamError: It broke off; where `delivery.started`, the caller of this ends the stream with `break_off`.
    """
    delivery.estimated = opened.estimated
    kept: list[bytes] = []
    delivery.kept = kept
    delivery.started = True
    reply.start(EVENTS_LINES + lines)
    await _Stream(call, opened, reply, delivery, kept).run()


async def relay_rest(call: Call, opened: Opened, reply: Reply, delivery: Delivery) -> None:
    """Send what somebody else goes on with, in a stream that has begun. `call.begun` says how.

    Raises:
        UpstreamError: It broke off too.
    """
    delivery.estimated = delivery.estimated or opened.estimated
    await _Stream(call, opened, reply, delivery, list(delivery.kept)).run()


def end_for(call: Call, opened: Opened, reply: Reply, delivery: Delivery) -> None:
    """End a stream whose engine said all of it, and broke off before it said so: with the tokens and the end mark."""
    block = CHAT.done[0] + b"\n\n"
    reply.end(_Stream(call, opened, reply, delivery, list(delivery.kept)).counted_at_last(block))
    delivery.ended = True


class _Stream:
    """One stream on its way from an engine to a caller."""

    __slots__ = (
        "_alike",
        "_call",
        "_cutter",
        "_delivery",
        "_finished",
        "_held",
        "_kept",
        "_most_kept",
        "_named",
        "_opened",
        "_reply",
        "_space",
        "_task",
        "_unlike",
    )

    def __init__(self, call: Call, opened: Opened, reply: Reply, delivery: Delivery, kept: list[bytes]) -> None:
        self._call = call
        self._kept = kept
        self._opened = opened
        self._reply = reply
        self._delivery = delivery
        self._cutter = opened.cutter or Cutter()
        self._most_kept = MOST_KEPT_BYTES if opened.expects is None else MOST_CHECKED_BYTES
        self._finished = False
        """The stream's end mark has come."""
        self._held = b""
        """The block with the end mark, until the answer is known to have its shape."""
        self._task = b'"model":' + _encode(call.name)
        # Engines write their name in one of two ways. Inside a JSON string the quotes would be escaped, so replacing
        # these bytes replaces the field and never content.
        name = _encode(opened.model)
        self._named = tuple(form for form in (b'"model":' + name, b'"model": ' + name) if form in opened.first)
        self._alike: Alike | None = None
        """What most events are, but for their text."""
        self._unlike = 0
        """Events that were looked through since one was not."""
        begun = call.begun
        self._space = "" if begun is None else begun.text[len(begun.spoken) :]
        """White space that the caller has got and whoever goes on was not shown."""
        if begun is not None:
            self._named = ()  # every event is one of another stream
            delivery.kept = kept

    async def run(self) -> None:
        opened, delivery, reply = self._opened, self._delivery, self._reply
        self._pass_on(opened.first)
        await self._catch_up()
        if opened.answer is not None:
            while not await opened.answer.pour(self._arrived):
                await self._catch_up()
            await self._catch_up()
        self._cutter.end()
        if not self._finished:
            raise UpstreamError("The model's stream ended without its end mark.")
        delivery.ended = True
        reply.end()

    async def _catch_up(self) -> None:
        """Do what could not be done while the engine's bytes came in."""
        if self._held:
            await self._check_shape()
        if self._reply.full:
            await self._reply.drain()

    def _arrived(self, chunk: bytes) -> bool:
        if self._alike is not None and not self._cutter.rest:
            block = self._alike.sent(chunk)
            if block is not None:
                self._unlike = 0
                return self._send(block)
        block = self._cutter.cut(chunk)
        return self._pass_on(block) if block else True

    def _pass_on(self, block: bytes) -> bool:
        """Send one block of whole events; False if something is to be done before the next."""
        ended = self._call.endpoint.ended(block)
        if self._opened.reader is not None or not self._named:
            block = self._rewritten(block)
        else:
            if self._unlike < MOST_UNLIKE:
                self._unlike += 1
                self._alike = alike(block, self._named, self._task)
            if b'"usage"' in block or b'"error"' in block or not looks_whole(block):
                block = self._read_aside(block)
            for form in self._named:
                block = block.replace(form, self._task)
        if not ended:
            return self._send(block)
        self._keep(block)
        self._finished = True
        if self._opened.expects is not None:
            self._held = block
            return False
        self._reply.write(self.counted_at_last(block))
        return not self._reply.full

    def _send(self, block: bytes) -> bool:
        """Keep and write what the caller gets; False if its reader must catch up first."""
        self._keep(block)
        reply = self._reply
        if block:
            reply.write(block)
        return not reply.full

    def _keep(self, block: bytes) -> None:
        delivery = self._delivery
        if delivery.kept_bytes < self._most_kept:
            self._kept.append(block)
            delivery.kept_bytes += len(block)

    def _read_aside(self, block: bytes) -> bytes:
        """Take the usage from the events that carry it, and drop the event that the caller did not ask for."""
        start = telling_from(block)
        passed: list[bytes] = [block[:start]]
        if b'"error"' in passed[0] or b"error:" in passed[0] or not looks_whole(passed[0]):
            start, passed = 0, []
        for event in events(block[start:]):
            fields = payload(event)
            if fields is None or self._counted(fields):
                passed.append(event + b"\n\n")
        return b"".join(passed)

    def _rewritten(self, block: bytes) -> bytes:
        """Every event in the shape that callers get."""
        reader, passed = self._opened.reader, list[bytes]()
        for event in events(block):
            fields = payload(event)
            if fields is None:
                if reader is not None and event in self._call.endpoint.done:
                    passed += [self._event(said) for said in reader.finish()]
                passed.append(event + b"\n\n")
            elif self._counted(fields):
                if self._call.begun is not None:
                    passed += self._rest(fields)
                elif reader is not None:
                    passed += [self._event(said) for said in reader.feed(fields)]
                else:
                    head = event[: event.index(b"data:")]
                    passed.append(head + self._event(fields))
        return b"".join(passed)

    def _rest(self, fields: dict[str, Any]) -> list[bytes]:
        """What to send for an event of whoever goes on with the stream."""
        begun, reader, passed = self._call.begun, self._opened.reader, list[bytes]()
        assert begun is not None, "nobody goes on with what has not begun"
        for said in (fields,) if reader is None else reader.feed(fields):
            mine = begun.as_mine(said, self._call.name)
            choices = mine["choices"]
            for choice in choices:
                text = choice["delta"].get("content")
                if text and self._space:
                    choice["delta"] = {**choice["delta"], "content": self._without_space(text)}
            if mine.get("usage"):
                mine["usage"] = self._totals(mine["usage"])
            if any(any(choice["delta"].values()) or choice.get("finish_reason") for choice in choices) or (
                mine.get("usage") and not choices
            ):
                passed.append(self._event(mine))
        return passed

    def _without_space(self, text: str) -> str:
        """The text without what the caller has got already of the white space that it begins with."""
        same = 0
        while same < min(len(text), len(self._space)) and text[same] == self._space[same]:
            same += 1
        self._space = self._space[same:] if same == len(text) else ""
        return text[same:]

    def _totals(self, usage: dict[str, Any]) -> dict[str, Any]:
        """An engine's count with that of those who broke off before."""
        delivery = self._delivery
        prompt, completion = delivery.prompt_tokens or 0, delivery.completion_tokens or 0
        said = {**usage, "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {**said, "estimated": True} if delivery.estimated else said

    def _event(self, fields: dict[str, Any]) -> bytes:
        for holder in (fields, *(fields.get(name) for name in self._call.endpoint.wrapped)):
            if isinstance(holder, dict) and "model" in holder:
                holder["model"] = self._call.name
        return b"data: " + _encode(fields) + b"\n\n"

    def _counted(self, fields: dict[str, Any]) -> bool:
        """Take the tokens of an event; False if it holds nothing else and the caller did not ask for it."""
        counts = self._call.endpoint.usage(fields)
        if counts is None:
            return True
        self._delivery.count(counts.prompt, counts.completion)
        return self._call.wants_usage or fields.get("choices") != []

    async def _check_shape(self) -> None:
        """Send the block with the end mark, once the answer is known to have its shape.

        Raises:
            UpstreamError: It has not the shape that was asked for.
        """
        block, self._held = self._held, b""
        expects = self._opened.expects
        assert expects is not None, "nothing else is held back"
        for text in texts_in(b"".join(self._kept)):
            problem = await expects.problem_of(text)
            if problem is not None:
                error = UpstreamError(f"The model did not answer in the shape that was asked for: {problem}.")
                error.code = "structured_output_failed"
                raise error
        self._reply.write(self.counted_at_last(block))

    def counted_at_last(self, block: bytes) -> bytes:
        """The block with the end mark, with our count of tokens where the engine gave none."""
        if self._delivery.completion_tokens is None:
            return self._with_estimate(block, words_in(self._delivery.newest()))
        return block

    def _with_estimate(self, block: bytes, text: str) -> bytes:
        delivery, endpoint = self._delivery, self._call.endpoint
        usage = estimated_usage(self._call.body, text, endpoint.usage_keys)
        delivery.count(*(usage[key] for key in endpoint.usage_keys))
        delivery.estimated = True
        if not (self._call.wants_usage and endpoint.usage_option):
            return block
        said: dict[str, Any] = {
            "object": "chat.completion.chunk",
            "model": self._call.name,
            "choices": [],
            "usage": self._totals(usage),
        }
        place = block.rindex(b"\n" + endpoint.done[0]) + 1 if not block.startswith(endpoint.done[0]) else 0
        return block[:place] + b"data: " + _encode(said) + b"\n\n" + block[place:]


def break_off(reply: Reply, error: ChangeoverError, request_id: str, endpoint: Endpoint, delivery: Delivery) -> None:
    """End a stream that has begun with an error event: the status is out already and cannot say it."""
    delivery.truncated = delivery.ended = True
    reply.end(error_event(error, request_id, endpoint.name))

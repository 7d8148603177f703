"""Stage 6: pass the answer on, and read its usage from the side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError, UpstreamError
from changeover.gateway.dispatch import Opened
from changeover.gateway.envelope import envelope
from changeover.gateway.http import EVENTS_TYPE, JSON_TYPE, Headers, Send, send_whole
from changeover.gateway.resolve import Call
from changeover.gateway.sse import DONE, events, payload

MOST_KEPT_BYTES = 1 << 20
"""Of a stream's content, for the record."""


@dataclass
class Delivery:
    """How the answer went out; filled as it goes, so that a broken one is recorded too."""

    started: bool = False
    """Headers are out: an error can no longer change the status."""
    ended: bool = False
    """The last byte is on its way: the caller may leave."""
    first_at: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    truncated: bool = False
    kept: list[bytes] = field(default_factory=list[bytes])
    """Raw events or body, for the record."""
    kept_bytes: int = 0


async def relay(call: Call, opened: Opened, send: Send, headers: Headers, delivery: Delivery, clock: Clock) -> None:
    """Send what the model says.

    Raises:
        UpstreamError: It broke off; where `delivery.started`, the caller of this ends the stream with `break_off`.
    """
    delivery.first_at = clock.monotonic()
    if opened.rest is None:
        await _relay_whole(call, opened, send, headers, delivery)
    else:
        await _relay_events(call, opened, send, headers, delivery)


async def _relay_whole(call: Call, opened: Opened, send: Send, headers: Headers, delivery: Delivery) -> None:
    fields = cast("dict[str, Any]", msgspec.json.decode(opened.first))
    _count(fields, delivery)
    fields["model"] = call.live.task.name
    body = msgspec.json.encode(fields)
    _keep(body, call, delivery)
    delivery.started = delivery.ended = True
    await send_whole(send, 200, body, [JSON_TYPE, *headers])


async def _relay_events(call: Call, opened: Opened, send: Send, headers: Headers, delivery: Delivery) -> None:
    assert opened.rest is not None
    named, task = b'"model":' + opened.model, b'"model":' + msgspec.json.encode(call.live.task.name)
    delivery.started = True
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [EVENTS_TYPE, (b"cache-control", b"no-cache"), *headers],
        }
    )
    finished = await _pass_on(opened.first, named, task, call, send, delivery)
    async for block in opened.rest:
        finished = await _pass_on(block, named, task, call, send, delivery) or finished
    if not finished:
        raise UpstreamError("The model's stream ended without its end mark.")
    delivery.ended = True
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def break_off(send: Send, error: ChangeoverError, request_id: str, delivery: Delivery) -> None:
    """End a stream that has begun with an error event: the status is out already and cannot say it."""
    delivery.truncated = delivery.ended = True
    event = b"data: " + msgspec.json.encode(envelope(error, request_id)) + b"\n\n"
    await send({"type": "http.response.body", "body": event, "more_body": False})


async def _pass_on(block: bytes, named: bytes, task: bytes, call: Call, send: Send, delivery: Delivery) -> bool:
    """Send one block of whole events; True if the stream's end mark was in it."""
    if b'"usage"' in block or b'"error"' in block or b"error:" in block:
        block = _read_aside(block, call, delivery)
    # Inside a JSON string the quotes would be escaped, so this replaces the field and never content.
    block = block.replace(named, task)
    _keep(block, call, delivery)
    await send({"type": "http.response.body", "body": block, "more_body": True})
    return DONE in block


def _read_aside(block: bytes, call: Call, delivery: Delivery) -> bytes:
    """Take the usage from the events that carry it, and drop the event that the caller did not ask for."""
    passed: list[bytes] = []
    for event in events(block):
        fields = payload(event)
        if fields is not None:
            _count(fields, delivery)
            if not call.wants_usage and fields.get("choices") == [] and "usage" in fields:
                continue
        passed.append(event + b"\n\n")
    return b"".join(passed)


def _count(fields: dict[str, Any], delivery: Delivery) -> None:
    usage = fields.get("usage")
    if not isinstance(usage, dict):
        return
    counts = cast("dict[str, Any]", usage)
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    delivery.prompt_tokens = prompt if isinstance(prompt, int) else None
    delivery.completion_tokens = completion if isinstance(completion, int) else None


def _keep(part: bytes, call: Call, delivery: Delivery) -> None:
    if call.live.task.declared.record == "full" and delivery.kept_bytes < MOST_KEPT_BYTES:
        delivery.kept.append(part)
        delivery.kept_bytes += len(part)

"""Server-sent events as they come from engines: whole events only, and the few facts that are read from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import msgspec

from changeover.core.errors import UpstreamError

MOST_EVENT_BYTES = 8 << 20
_OTHER_FIELDS = frozenset({b"", b"event", b"id", b"retry"})
"""Lines that an event may have besides its data; without a name, a comment."""


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut what arrives at the ends of events; what arrived together is handed on together.

    Raises:
        UpstreamError: An event never ends.
    """
    rest = b""
    async for chunk in chunks:
        data = rest + chunk if rest else chunk
        if b"\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
        end = data.rfind(b"\n\n")
        if end < 0:
            rest = data
        else:
            rest = data[end + 2 :]
            yield data[: end + 2]
        if len(rest) > MOST_EVENT_BYTES:
            raise UpstreamError("The model sent an event that does not end.")
    if rest.strip():
        raise UpstreamError("The model's stream broke off inside an event.")


def events(block: bytes) -> Iterator[bytes]:
    """The events of a block, without their blank lines."""
    for event in block.split(b"\n\n"):
        if event.strip():
            yield event


def payload(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None for `[DONE]` and comments.

    Raises:
        UpstreamError: The event's data is not a JSON object, or reports an error, or a line is none of the protocol's.
    """
    data = event[6:] if event.startswith(b"data: ") and b"\n" not in event else _data(event)
    if not data or data == b"[DONE]":
        return None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UpstreamError("The model sent a line that is not JSON.") from exc
    if not isinstance(value, dict):
        raise UpstreamError("The model sent an event that is not an object.")
    fields = cast("dict[str, Any]", value)
    if fields.get("error"):
        raise UpstreamError("The model broke off with an error.")
    return fields


def _data(event: bytes) -> bytes:
    parts: list[bytes] = []
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            parts.append(value.strip())
        elif name == b"error":
            raise UpstreamError("The model broke off with an error.")
        elif name not in _OTHER_FIELDS:
            raise UpstreamError("The model sent a line that is no part of a stream.")
    return b"".join(parts)


def looks_whole(block: bytes) -> bool:
    """Whether every event of a block ends as a JSON object does: cheap, and false for much that is whole."""
    return block.count(b"}\n\n") == block.count(b"\n\n")


def words_in(stream: bytes) -> tuple[str, bool]:
    """All text of a stream's events, whatever the endpoint, and whether it is no whole text: cut off, or a tool call.

    Events that cannot be read are left out: this is for counting and checking what was passed on already.
    """
    found: list[str] = []
    partial = False
    for event in events(stream):
        try:
            fields = payload(event)
        except UpstreamError:
            break
        if fields is None:
            continue
        choices = fields.get("choices")
        if isinstance(choices, list):
            for choice in cast("list[Any]", choices)[:1]:
                text, stops = _of_choice(choice)
                found.append(text)
                partial = partial or stops
        elif isinstance(fields.get("delta"), str):  # a response's
            found.append(fields["delta"])
        elif isinstance(fields.get("delta"), dict):  # a message's
            found.append(str(fields["delta"].get("text") or ""))
    return "".join(found), partial


def _of_choice(choice: Any) -> tuple[str, bool]:
    if not isinstance(choice, dict):
        return "", False
    fields = cast("dict[str, Any]", choice)
    delta: Any = fields.get("delta")
    inner = cast("dict[str, Any]", delta) if isinstance(delta, dict) else fields
    text = inner.get("content") or inner.get("text") or ""
    stops = fields.get("finish_reason") == "length" or bool(inner.get("tool_calls"))
    return text if isinstance(text, str) else "", stops


def message_in(stream: bytes) -> dict[str, Any]:
    """The assistant's message that a stream's deltas make together, of the first choice; tool calls included."""
    message: dict[str, Any] = {"role": "assistant", "content": words_in(stream)[0]}
    calls: dict[int, dict[str, Any]] = {}
    reasoning: list[str] = []
    for delta in _deltas(stream):
        if isinstance(delta.get("reasoning_content"), str):
            reasoning.append(delta["reasoning_content"])
        given = delta.get("tool_calls")
        for piece in cast("list[Any]", given) if isinstance(given, list) else ():
            if isinstance(piece, dict):
                _add_call(calls, cast("dict[str, Any]", piece))
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    return message


def _deltas(stream: bytes) -> Iterator[dict[str, Any]]:
    for event in events(stream):
        try:
            fields = payload(event)
        except UpstreamError:
            return
        choices = None if fields is None else fields.get("choices")
        for choice in cast("list[Any]", choices)[:1] if isinstance(choices, list) else ():
            delta: Any = cast("dict[str, Any]", choice).get("delta") if isinstance(choice, dict) else None
            if isinstance(delta, dict):
                yield cast("dict[str, Any]", delta)


def _add_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    place = piece.get("index")
    call = calls.setdefault(place if isinstance(place, int) else 0, {"function": {"name": "", "arguments": ""}})
    for key in ("id", "type"):
        if piece.get(key):
            call[key] = piece[key]
    function: Any = piece.get("function")
    if isinstance(function, dict):
        for key in ("name", "arguments"):
            said = cast("dict[str, Any]", function).get(key)
            if isinstance(said, str):
                call["function"][key] += said

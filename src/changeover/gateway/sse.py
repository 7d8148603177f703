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

"""Server-sent events as they come from engines: whole events only, and the few facts that are read from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import msgspec

from changeover.core.errors import UpstreamError

MOST_EVENT_BYTES = 8 << 20
DONE = b"data: [DONE]"


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
        UpstreamError: The event's data is not a JSON object, or reports an error.
    """
    data = b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    if not data or data == b"[DONE]":
        if event.startswith(b"error:"):
            raise UpstreamError("The model broke off with an error.")
        return None
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise UpstreamError("The model sent a line that is not JSON.") from exc
    if not isinstance(value, dict):
        raise UpstreamError("The model sent an event that is not an object.")
    fields = cast("dict[str, Any]", value)
    if fields.get("error"):
        raise UpstreamError("The model broke off with an error.")
    return fields

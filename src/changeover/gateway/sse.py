"""Server-sent events as they come from engines: whole events only, and the few facts that are read from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from changeover.core.errors import UpstreamError

MOST_EVENT_BYTES = 8 << 20
_OTHER_FIELDS = frozenset({b"", b"event", b"id", b"retry"})
"""Lines that an event may have besides its data; without a name, a comment."""


class Cutter:
    """Cuts what arrives of a stream at the ends of events; what arrived together is handed on together."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""
        """Of an event that is not whole."""

    def cut(self, chunk: bytes) -> bytes:
        """The whole events that are here now; empty if there is none.

        Raises:
            UpstreamError: An event never ends.
        """
        data = self.rest + chunk if self.rest else chunk
        if b"\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
        if data.endswith(b"\n\n"):
            self.rest = b""
            return data
        end = _after_last_event(data, len(data))
        self.rest = data[end:]
        if len(self.rest) > MOST_EVENT_BYTES:
            raise UpstreamError("The model sent an event that does not end.")
        return data[:end]

    def end(self) -> None:
        """Nothing more will arrive.

        Raises:
            UpstreamError: It ended inside an event.
        """
        if self.rest.strip():
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


def telling_from(block: bytes) -> int:
    """Where the first event begins that may hold tokens; the length of the block if there is none.

    Engines that are asked for their count write `"usage":null` into every event but one.
    """
    place = block.find(b'"usage"')
    while place >= 0:
        if block[place + 7 : place + 13].replace(b" ", b"")[:5] != b":null":
            return _after_last_event(block, place)
        place = block.find(b'"usage"', place + 7)
    return len(block)


def _after_last_event(data: bytes, place: int) -> int:
    """Where the last event that ends before a place is over; 0 if none does."""
    end = data.rfind(b"\n\n", 0, place)
    return end + 2 if end >= 0 else 0


def looks_whole(block: bytes) -> bool:
    """Whether every event of a block ends as a JSON object does: cheap, and false for much that is whole."""
    return block.count(b"}\n\n") == block.count(b"\n\n")

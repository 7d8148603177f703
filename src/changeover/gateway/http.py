"""The few words of HTTP that the door speaks: what came, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

Headers = Sequence[tuple[bytes, bytes]]

READ = frozenset({
    b"accept", b"authorization", b"content-length", b"content-type", b"expect", b"traceparent", b"tracestate",
    b"x-api-key",
})  # fmt: skip
"""Headers of a request that anybody reads, in lower case. All others end at the door."""
JSON_TYPE = (b"content-type", b"application/json")
EVENTS_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Largest body of a request, and the setting that says so."""

    most_bytes: int
    setting: str


class ClientGone(Exception):
    """The caller closed the connection."""


class Head(msgspec.Struct):
    """The first part of a request: all that is known before its body."""

    method: str
    path: str
    """Without the query, percent-decoded; what it was routed by."""
    headers: Headers
    """Those that anybody reads, see `READ`; names in lower case."""
    query: str = ""
    """What follows the path's `?`, as it was sent."""

    def header(self, name: bytes) -> bytes | None:
        """First value of a header; names are lower case."""
        for found, value in self.headers:
            if found == name:
                return value
        return None


class Reply(Protocol):
    """The way back to a caller. Nothing here fails because the caller has left."""

    def whole(self, status: int, headers: Headers | bytes, body: bytes) -> None:
        """Send a complete answer. Headers that are sent often come as `header_lines` made them."""
        ...

    def start(self, headers: Headers | bytes) -> None:
        """Begin a stream, with status 200; it goes out with the first piece."""
        ...

    def write(self, piece: bytes) -> None:
        """Send a piece of a stream."""
        ...

    def end(self, piece: bytes = b"") -> None:
        """Send the last piece of a stream, and end it."""
        ...

    @property
    def full(self) -> bool:
        """The caller reads more slowly than this writes: wait with `drain` before the next piece."""
        ...

    async def drain(self) -> None:
        """Wait until the caller has read most of what was sent."""
        ...


def header_lines(headers: Headers) -> bytes:
    """Headers as they are sent, each with the end of its line."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def send_json(reply: Reply, status: int, value: Any, headers: Headers = ()) -> None:
    """Send a value as JSON."""
    reply.whole(status, [JSON_TYPE, *headers], _encode(value))

"""The few words of ASGI that the door speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from changeover.core.errors import RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
EVENTS_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")


class ClientGone(Exception):
    """The caller closed the connection."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """First value of a request header; names are lower case."""
    values: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for found, value in values:
        if found == name:
            return value
    return None


async def read_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The whole request body.

    Raises:
        RequestError: It is larger than `most_bytes` (413).
        ClientGone: The caller left before its end.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_whole(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a complete answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, value: Any, headers: Headers | None = None) -> None:
    """Send a value as JSON."""
    await send_whole(send, status, msgspec.json.encode(value), [JSON_TYPE, *(headers or [])])


def _too_large(most_bytes: int) -> RequestError:
    error = RequestError(
        f"The request body is larger than {most_bytes / (1 << 20):g} MiB. Send less, or raise `gateway.max_body_mib`."
    )
    error.status = 413
    return error

"""Errors as applications see them: OpenAI's envelope, and whether the gateway or a model failed."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from changeover.core.errors import CapacityError, ChangeoverError
from changeover.gateway.http import Headers, Reply, send_json

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def envelope(error: ChangeoverError, request_id: str) -> dict[str, Any]:
    """The body of an error answer. `source` is `gateway` or `model`; the outer `type` is for Anthropic's clients."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {
        "type": "error",
        "error": {
            "message": error.message,
            "type": kind,
            "code": error.code,
            "param": None,
            "source": error.source,
            "request_id": request_id,
        },
    }


def error_event(error: ChangeoverError, request_id: str, endpoint: str) -> bytes:
    """The last event of a stream that broke off, as the clients of an endpoint look for it."""
    body = envelope(error, request_id)
    if endpoint == "responses":
        inner = body["error"]
        body = {
            "type": "error",
            "sequence_number": 0,
            **{key: inner[key] for key in ("code", "message", "param")},
            **body,
        }
    elif endpoint != "messages":
        del body["type"]  # OpenAI's clients know a broken chat by an event that is an error and nothing else
    named = b"event: error\n" if endpoint in ("responses", "messages") else b""
    return named + b"data: " + msgspec.json.encode(body) + b"\n\n"


def refuse(reply: Reply, error: ChangeoverError, request_id: str, headers: Headers) -> None:
    """Answer with an error."""
    extra: list[tuple[bytes, bytes]] = []
    if isinstance(error, CapacityError):
        extra.append((b"retry-after", str(max(math.ceil(error.retry_after_s), 1)).encode()))
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    send_json(reply, error.status, envelope(error, request_id), [*extra, *headers])

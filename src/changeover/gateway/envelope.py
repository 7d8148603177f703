"""Errors as applications see them: OpenAI's envelope, and whether the gateway or a model failed."""

from __future__ import annotations

import math
from typing import Any

from changeover.core.errors import CapacityError, ChangeoverError
from changeover.gateway.http import Headers, Send, send_json

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def envelope(error: ChangeoverError, request_id: str) -> dict[str, Any]:
    """The body of an error answer. `source` is `gateway` or `model`."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "code": error.code,
            "param": None,
            "source": error.source,
            "request_id": request_id,
        }
    }


async def refuse(send: Send, error: ChangeoverError, request_id: str, headers: Headers) -> None:
    """Answer with an error."""
    extra: Headers = []
    if isinstance(error, CapacityError):
        extra.append((b"retry-after", str(math.ceil(error.retry_after_s)).encode()))
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    await send_json(send, error.status, envelope(error, request_id), [*extra, *headers])

"""A guard before vLLM's server: nothing but its health is told to who does not know the deployment's secret.

vLLM's own key protects `/v1`, `/v2` and `/inference` alone: `/invocations` answers chats without one, and `/tokenize`,
`/metrics` and others do too (vllm-project/vllm issue 58144; seen with 0.32.0). Loaded into vLLM's own environment by
`--middleware`, so it stands in a folder of its own and imports nothing that is not Python's.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = "/health"


class Guard:
    """An ASGI application around another one. Refuses as vLLM itself does."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._expected = b"Bearer " + os.environ["VLLM_API_KEY"].encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what is no request, asks after its health, or knows the secret."""
        if scope["type"] not in ("http", "websocket") or scope["path"] == OPEN or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error":"Unauthorized"}'})

    def _knows(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return secrets.compare_digest(given, self._expected)

"""The server over streamable HTTP: an ASGI application. Callers send their own key, which goes on to the gateway."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from changeover.client import AsyncClient, ToolFailed
from changeover.core.errors import AuthenticationError, ChangeoverError, ConfigError, PermissionError_, RequestError
from changeover.core.hosts import LOOPBACK
from changeover.tools.mcp.files import Files
from changeover.tools.mcp.server import Context, Offer

PATH = "/mcp"
NOBODY = "nobody"
"""The key of requests that have none: nothing is asked with it."""
MOST_BODY_BYTES = 96 << 20
"""Of a request: files are sent as base64."""
KNOWN_S = 5.0
"""For so long a key that the gateway knew is not asked about again; each run asks in any case."""
MOST_KNOWN = 10_000
MOST_SESSIONS = 1_000


class _NotFound(RequestError):
    status = 404
    code = "no_such_route"


@dataclass
class Doorkeeper:
    """Lets in whose key the gateway knows."""

    client: AsyncClient
    _known: dict[str, float] = field(default_factory=dict[str, float])
    """Digests of keys, and when each must be asked about again."""

    async def admit(self, headers: Headers) -> AccessToken:
        """Who calls.

        Raises:
            AuthenticationError: No key, or none of this gateway's.
            ChangeoverError: The gateway cannot be asked.
        """
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError("No key. Send your Changeover key as `Authorization: Bearer KEY`.")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        if self._known.get(digest, 0.0) < time.monotonic():
            await self._ask(key.strip())
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = time.monotonic() + KNOWN_S
        return AccessToken(token=key.strip(), client_id=digest, scopes=[])

    async def _ask(self, key: str) -> None:
        try:
            await self.client.with_key(key).tools()
        except ConfigError as exc:
            raise AuthenticationError(exc.message) from exc
        except ToolFailed as exc:
            if exc.status == AuthenticationError.status:
                raise AuthenticationError(exc.message) from exc
            if exc.status == PermissionError_.status:
                raise PermissionError_(exc.message) from exc
            raise


class Endpoint:
    """The application: one path, behind the doorkeeper."""

    def __init__(self, manager: StreamableHTTPSessionManager, doorkeeper: Doorkeeper) -> None:
        self._manager = manager
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if scope["path"] != PATH:
                raise _NotFound(f"Nothing is at `{str(scope['path'])[:200]}`. The tools are at `{PATH}`.")
            # The session is the key's: the transport refuses it to any other.
            scope["user"] = AuthenticatedUser(await self._doorkeeper.admit(Headers(scope=scope)))
        except ChangeoverError as exc:
            await _refusal(exc)(scope, receive, send)
            return
        await self._manager.handle_request(scope, receive, send)


@asynccontextmanager
async def offered(url: str, hosts: Sequence[str], origins: Sequence[str]) -> AsyncGenerator[Endpoint]:
    """The application, for the length of the block.

    Args:
        url: Of the gateway.
        hosts: Names, beside this machine's own, under which it may be called; `NAME` or `NAME:PORT`.
        origins: Pages, beside this machine's own, whose scripts may call it.
    """
    async with AsyncClient(url, NOBODY) as client:

        def session(context: Context) -> tuple[str, AsyncClient]:
            token = _token(context)
            return token.client_id, client.with_key(token.token)

        manager = StreamableHTTPSessionManager(
            Offer(session, Files(), connections_break=True).server(),
            security_settings=TransportSecuritySettings(
                enable_dns_rebinding_protection=True,
                allowed_hosts=[form for host in (*LOOPBACK, *hosts) for form in (host, f"{host}:*")],
                allowed_origins=[*(f"http://{host}:*" for host in LOOPBACK), *origins],
            ),
            max_request_body_size=MOST_BODY_BYTES,
            max_sessions=MOST_SESSIONS,
        )
        async with manager.run():
            yield Endpoint(manager, Doorkeeper(client))


def _token(context: Context) -> AccessToken:
    request = context.request
    assert isinstance(request, Request), "this transport hands its requests on"
    user: Any = request.scope["user"]
    assert isinstance(user, AuthenticatedUser), "the endpoint has let it in"
    return user.access_token


def _refusal(error: ChangeoverError) -> Response:
    body = {"error": {"message": error.message, "code": error.code}}
    headers = {"www-authenticate": "Bearer"} if error.status == AuthenticationError.status else {}
    return Response(msgspec.json.encode(body), error.status, headers, "application/json")

"""The client session that carries all requests to engines, and sends one again that met a closed connection."""

from __future__ import annotations

import io
from contextvars import ContextVar
from typing import Final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from yarl import URL

KEEPALIVE_S: Final = 4.0
"""Below the 5 s after which common servers (uvicorn, llama.cpp, Node) close an idle connection themselves."""
CONNECT_S: Final = 10.0
_LARGE_BODY: Final = 1 << 20
"""aiohttp warns of a larger body unless it comes as a file."""

_reused: ContextVar[bool] = ContextVar("reused", default=False)
"""Whether the connection that this task got last had carried a request before."""


class _Connector(aiohttp.TCPConnector):
    """Keeps connections, and says of each whether it was used before."""

    def __init__(self) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - aiohttp types `socket_factory` incompletely
            limit=0, keepalive_timeout=KEEPALIVE_S
        )
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if protocol is not None:
            _reused.set(protocol in self._used)
            self._used.add(protocol)
        return connection


def make_session() -> aiohttp.ClientSession:
    """The one client session for all engines: no cookies, no proxies, no limits but those of each call.

    Needs a running event loop. Whoever makes it closes it.
    """
    return aiohttp.ClientSession(
        connector=_Connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent",),
    )


async def post(
    session: aiohttp.ClientSession, url: URL, body: bytes, headers: dict[str, str]
) -> aiohttp.ClientResponse:
    """Send a body, and again if the connection had been kept and turns out to be closed.

    llama.cpp closes a connection after each stream without announcing it: half of the requests that follow at once
    meet a closed connection. One that failed so, before any answer, did nothing and is safely sent again. Each time
    a kept connection goes, and on a new one it is not tried again, so this ends.
    """
    while True:
        _reused.set(False)
        try:
            return await session.post(
                url,
                data=body if len(body) <= _LARGE_BODY else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientConnectionError:
            if not _reused.get():
                raise

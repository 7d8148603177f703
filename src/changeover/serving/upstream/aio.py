"""The way to engines on aiohttp."""

from __future__ import annotations

import asyncio
import io
from contextvars import ContextVar
from typing import Final, final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from yarl import URL

from changeover.core.errors import ChangeoverError, UpstreamError
from changeover.serving.patch import Patch
from changeover.serving.refusals import MAX_REFUSAL_BYTES, classify, retry_after
from changeover.serving.upstream import words
from changeover.serving.upstream.aio_answer import AioAnswer, words_for
from changeover.serving.upstream.base import Address, checked
from changeover.serving.upstream.interface import CONNECT_S, KEEPALIVE_S, PROBE_S, REFUSAL_S, Headers

_LARGE_BODY: Final = 1 << 20
"""aiohttp warns of a larger body unless it comes as a file."""

_reused: ContextVar[bool] = ContextVar("reused", default=False)
"""Whether the connection that this task got last had carried a request before."""


@final
class AioClient:
    """One session for all engines: no cookies, no proxies, no limits but those of each call."""

    def __init__(self) -> None:
        """Needs a running event loop. Whoever makes it closes it."""
        self._session = _session(_Connector())
        self._sessions = [self._session]

    def upstream(
        self,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        *,
        probe_path: str = "/v1/models",
        socket: str | None = None,
        patch: Patch | None = None,
    ) -> AioUpstream:
        """The way to one engine. See `Client.upstream`."""
        session = self._session
        if socket is not None:  # the library has a connector for each
            session = _session(_UnixConnector(socket))
            self._sessions.append(session)
        return AioUpstream(session, name, base_url, secret, model, probe_path, patch)

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            await session.close()


@final
class AioUpstream(Address):
    """One engine's address, asked through aiohttp."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        probe_path: str,
        patch: Patch | None,
    ) -> None:
        """Set the address up. See `Client.upstream`."""
        super().__init__(name, base_url, secret, model, probe_path, patch)
        self._session = session
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if secret is not None:
            self._headers["Authorization"] = f"Bearer {secret}"
        self._urls: dict[str, URL] = {}

    async def probe(self, timeout_s: float = PROBE_S) -> str | None:
        """Ask the engine whether it can answer. See `Upstream.probe`."""
        headers = {**self._headers, "Connection": "close"}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.get(self._url(self._probe_path), headers=headers, allow_redirects=False) as response,
            ):
                return words.unready(response.status)
        except aiohttp.ClientError as exc:
            return words_for(exc)
        except TimeoutError:
            return f"sent nothing within {timeout_s:g} s"

    async def open(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> AioAnswer:
        """Send a body and wait for the head of the answer. See `Upstream.open`."""
        outgoing = self.outgoing(path, body, as_is=as_is)
        extra = checked(headers)
        sent = {**self._headers, **dict(extra)} if extra else self._headers
        first_byte_at = asyncio.get_running_loop().time() + first_byte_s
        self.in_flight += 1
        try:
            async with asyncio.timeout_at(first_byte_at):
                response = await _post(self._session, self._url(path), outgoing, sent)
                refusal = await self._refusal(response)
            if refusal is not None:
                raise refusal
        except BaseException as exc:
            self.landed()
            if isinstance(exc, aiohttp.ClientError):
                reached = not isinstance(exc, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
                raise UpstreamError(f"`{self.name}` {words_for(exc)}.", reached=reached) from exc
            if isinstance(exc, TimeoutError):
                raise UpstreamError(words.nothing_within(self.name, first_byte_s)) from exc
            raise
        return AioAnswer(self, response, first_byte_at=first_byte_at, stall_s=stall_s)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ChangeoverError | None:
        """The error for a response that is no answer; it is closed then."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if 200 <= response.status < 300:
            if encoding == "identity":
                return None
            response.close()
            return UpstreamError(words.encoded(self.name, encoding))
        said = b""
        try:
            async with asyncio.timeout(REFUSAL_S):
                while len(said) < MAX_REFUSAL_BYTES and (part := await response.content.readany()):
                    said += part
        except (aiohttp.ClientError, TimeoutError):
            pass  # the status says enough
        finally:
            response.close()
        wait_s = retry_after(response.headers.get("Retry-After"))
        return classify(self.name, response.status, said[:MAX_REFUSAL_BYTES], wait_s, secret=self._secret)

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self.url(path)
        return url


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent",),
    )


class _Keeping(aiohttp.BaseConnector):
    """Keeps connections, and says of each whether it was used before."""

    _used: WeakSet[ResponseHandler]

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            reused = protocol is not None and protocol in self._used
            if protocol is None or not reused or not protocol.should_close:
                break
            # Something arrived while nobody asked. aiohttp would take it for the answer to the next request.
            connection.close()
        _reused.set(reused)
        if protocol is not None:
            self._used.add(protocol)
        return connection


class _Connector(_Keeping, aiohttp.TCPConnector):
    """To hosts and their ports."""

    def __init__(self) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - aiohttp types `socket_factory` incompletely
            limit=0, keepalive_timeout=KEEPALIVE_S
        )
        self._used = WeakSet()


class _UnixConnector(_Keeping, aiohttp.UnixConnector):
    """To one Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__(path, limit=0, keepalive_timeout=KEEPALIVE_S)
        self._used = WeakSet()


async def _post(
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

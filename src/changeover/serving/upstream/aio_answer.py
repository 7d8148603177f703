"""An engine's answer through aiohttp, as it arrives, with a limit on silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, final

import aiohttp

from changeover.core.errors import UpstreamError
from changeover.serving.upstream import words
from changeover.serving.upstream.base import Address, whole

LOOK_S: Final = 1.0
"""Between looks at a silent connection."""


@final
class AioAnswer:
    """What an engine answers. See `Answer`."""

    def __init__(
        self, origin: Address, response: aiohttp.ClientResponse, *, first_byte_at: float, stall_s: float
    ) -> None:
        """Take over a response whose headers are here.

        Args:
            origin: Is told of every piece that arrives, and once when the answer is closed.
            response: Closed by `close`, unless it was read to its end.
            first_byte_at: Loop time until which the body has to begin.
            stall_s: Longest silence after that, seconds.
        """
        self.status = response.status
        self.headers: Mapping[str, str] = {"content-type": response.headers.get("Content-Type", "")}
        self._origin = origin
        self._response = response
        self._first_byte_at = first_byte_at
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        """Loop time at which silence becomes a failure; None while nobody waits for the engine."""
        self._timer: asyncio.TimerHandle | None = None
        self._began = False
        self._stalled = False
        self._closed = False

    async def read(self) -> bytes:
        """The whole body. See `Answer.read`."""
        return await whole(self, self._origin.name)

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        """Hand on the body as it arrives. See `Answer.pour`."""
        while data := await self.piece():
            if not into(data):
                return False
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. See `Answer.chunks`."""
        while chunk := await self.piece():
            yield chunk

    async def piece(self) -> bytes:
        """What has arrived, or the next that does; empty at the end. See `Answer.piece`."""
        now = self._loop.time()
        self._due = now + self._stall_s if self._began else self._first_byte_at
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_at(min(self._due, now + LOOK_S), self._look)
        try:
            data = await self._response.content.readany()
        except aiohttp.ClientError as exc:
            raise self._broken(exc) from exc
        finally:
            self._due = None
        self._began = True
        self._origin.heard += 1
        return data

    def close(self) -> None:
        """Be done with it. See `Answer.close`."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._response.closed:
            self._response.close()
        self._origin.landed()

    def _look(self) -> None:
        """Close the connection if the engine has been silent for too long, else look again.

        One timer for the whole answer: one for each piece would cost as much as relaying the piece.
        """
        now = self._loop.time()
        if self._due is not None:
            self._stalled = now >= self._due
            # aiohttp closes the connection when a body's framing is broken, but tells nobody who waits for the body.
            if self._stalled or self._is_cut():
                self._response.close()
                return
        self._timer = self._loop.call_at(min(self._due or now + LOOK_S, now + LOOK_S), self._look)

    def _is_cut(self) -> bool:
        connection = self._response.connection
        return connection is not None and connection.protocol is not None and not connection.protocol.is_connected()

    def _broken(self, exc: aiohttp.ClientError) -> UpstreamError:
        if self._stalled:
            return UpstreamError(words.silent(self._origin.name, self._stall_s, began=self._began))
        return UpstreamError(f"`{self._origin.name}` {words_for(exc)}.")


def words_for(exc: aiohttp.ClientError) -> str:
    """What went wrong, to follow the deployment's name. Never the exception's own text: it holds addresses."""
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return words.unreachable(words.UNKNOWN_HOST)
    if isinstance(exc, (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)):
        return words.unreachable(words.TLS_REFUSED)
    if isinstance(exc, aiohttp.ClientConnectorError):
        return words.unreachable(words.reason_of(exc.errno))
    if isinstance(exc, aiohttp.ServerTimeoutError):
        return words.SLOW_TO_CONNECT
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return words.NOT_ANSWERED
    if isinstance(exc, aiohttp.ClientPayloadError):
        return words.CUT_SHORT
    if isinstance(exc, aiohttp.ClientResponseError):
        return words.NO_HTTP
    return words.BROKEN

"""An engine's answer, as it arrives, with a limit on silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, final

import aiohttp

from changeover.core.errors import UpstreamError
from changeover.serving.refusals import words_for

MAX_ANSWER_BYTES: Final = 64 << 20
"""Of an answer that is read whole. An engine that sends more has lost its way."""
LOOK_S: Final = 1.0
"""Between looks at a silent connection."""


@final
class Answer:
    """What an engine answers: its status and its body."""

    def __init__(
        self,
        name: str,
        response: aiohttp.ClientResponse,
        *,
        first_byte_at: float,
        stall_s: float,
        on_piece: Callable[[], None],
    ) -> None:
        """Take over a response whose headers are here.

        Args:
            name: The deployment's, for messages.
            response: Closed by `close`, unless it was read to its end.
            first_byte_at: Loop time until which the body has to begin.
            stall_s: Longest silence after that, seconds.
            on_piece: Called for every piece of the body.
        """
        self.status = response.status
        self.headers: Mapping[str, str] = {"content-type": response.headers.get("Content-Type", "")}
        self._name = name
        self._response = response
        self._first_byte_at = first_byte_at
        self._stall_s = stall_s
        self._on_piece = on_piece
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        """Loop time at which silence becomes a failure; None while nobody waits for the engine."""
        self._timer: asyncio.TimerHandle | None = None
        self._began = False
        self._stalled = False

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: It broke off, stalled, or is longer than 64 MiB.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self._next():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise UpstreamError(f"`{self._name}` sent more than {MAX_ANSWER_BYTES >> 20} MiB.")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what arrived together is given together.

        Raises:
            UpstreamError: It broke off or stalled.
        """
        while chunk := await self._next():
            yield chunk

    def close(self) -> None:
        """Be done with it. What was not read is not waited for: its connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._response.closed:
            self._response.close()

    async def _next(self) -> bytes:
        """What has arrived, or the next that does; empty at the end."""
        now = self._loop.time()
        self._due = now + self._stall_s if self._began else self._first_byte_at
        if self._timer is None:
            self._timer = self._loop.call_at(min(self._due, now + LOOK_S), self._look)
        try:
            data = await self._response.content.readany()
        except aiohttp.ClientError as exc:
            raise self._broken(exc) from exc
        finally:
            self._due = None
        self._began = True
        self._on_piece()
        return data

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
        if not self._stalled:
            return UpstreamError(f"`{self._name}` {words_for(exc)}.")
        if self._began:
            return UpstreamError(f"`{self._name}` fell silent for {self._stall_s:g} s within its answer.")
        return UpstreamError(f"`{self._name}` began an answer and sent nothing of it in time.")

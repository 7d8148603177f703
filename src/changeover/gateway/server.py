"""The door's server: takes connections, looks at all of them ten times a second, and drains them at the end."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import Final

from changeover.gateway.connection import Connection, Door, State
from changeover.gateway.http import BodyLimit

KEEPALIVE_S: Final = 75.0
"""An idle connection of a caller's is kept for so long."""
LOOK_S: Final = 0.1
LATE_S: Final = 1.0
"""At the end: a connection that was taken just now may still bring its request within this time."""


class Server:
    """One listening socket's connections."""

    def __init__(self, door: Door, *, most_body_bytes: int, arrival_s: float, drain_s: float) -> None:
        """Set up.

        Args:
            door: Who answers.
            most_body_bytes: Larger requests are refused.
            arrival_s: Longest time for a request to arrive whole.
            drain_s: Longest wait for answers under way at the end.
        """
        self._state = State(door, BodyLimit(most_body_bytes, "gateway.max_body_mib"))
        self._arrival_s = arrival_s
        self._drain_s = drain_s
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Answer until `stop`; then nothing new is taken, and answers under way end."""
        loop = asyncio.get_running_loop()
        self._state.run_in(loop)
        server = await loop.create_server(lambda: Connection(self._state), sock=listener, backlog=2048)
        looking = asyncio.create_task(self._look())
        try:
            await self._stop.wait()
        finally:
            self._state.draining = True
            server.close()
            for connection in list(self._state.connections):
                if not connection.arriving():
                    connection.close_idle()
            loop.call_later(LATE_S, self._close_idle)
            await self._drained()
            looking.cancel()

    def stop(self) -> None:
        """Begin to drain; a second call does not wait for answers under way."""
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def _close_idle(self) -> None:
        for connection in list(self._state.connections):
            connection.close_idle()

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_s
        while self._state.connections and not self._force.is_set() and loop.time() < until:  # noqa: ASYNC110 - many tell
            await asyncio.sleep(0.02)
        for connection in list(self._state.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _look(self) -> None:
        """Give up answers whose time is over; close connections whose request does not come, or that nobody uses.

        One look at all of them: a timer for each request would cost as much as a good part of answering it.
        """
        while True:
            await asyncio.sleep(min(LOOK_S, self._arrival_s / 2))
            # Event loops count in the same time, some with less precision.
            now = monotonic()
            for connection in list(self._state.connections):
                since = connection.waiting_since
                if since is None:
                    connection.give_up_late(now)
                    continue
                if connection.stuck and now - since > KEEPALIVE_S:
                    connection.abort()
                elif connection.arriving() and now - since > self._arrival_s:
                    connection.refuse(408, f"The request did not arrive within {self._arrival_s:g} s.")
                elif now - since > KEEPALIVE_S:
                    connection.close_idle()

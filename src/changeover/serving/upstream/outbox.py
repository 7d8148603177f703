"""What is to be sent on many connections, sent together.

A write to a socket wakes whoever reads it, and runs a good part of the kernel. Between the steps of many requests that
costs a third of all processor time: the caches are cold after each. Done for all of them at the end of a turn of the
event loop it costs little, and the other side wakes once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import final

log = logging.getLogger(__name__)


@final
class Outbox:
    """Bytes that wait for the end of this turn of the event loop."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []

    def send(self, transport: asyncio.WriteTransport, data: bytes, *, alone: bool) -> None:
        """Send bytes on a connection that is open, in the order of the calls.

        Args:
            transport: Of the connection. Before it is closed, `flush`.
            data: What to send.
            alone: Nobody else has anything to send now: not to wait is quicker then.
        """
        if self._waiting:
            self._waiting.append((transport, data))
        elif alone:
            transport.write(data)
        else:
            self._loop.call_soon(self.flush)
            self._waiting.append((transport, data))

    def flush(self) -> None:
        """Send all that waits. A connection that takes nothing any more is closed, and costs the others nothing."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            try:
                if not transport.is_closing():
                    transport.write(data)
            except (OSError, RuntimeError) as exc:
                log.warning("a connection could not be written to: %s", exc)
                transport.abort()

"""Serving an ASGI application in a process of its own, beside the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from typing import Any

import uvicorn


def serving(application: Callable[..., Any], on_listening: Callable[[], None], *, drain_s: int) -> Serving:
    """A server for an application; `serve([listener])` runs it until SIGINT or SIGTERM.

    Args:
        application: Answers.
        on_listening: Called once callers are answered.
        drain_s: At the end, requests under way may go on for so long.
    """
    config = uvicorn.Config(
        application,
        http="httptools",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
    )
    return Serving(config, on_listening)


class Serving(uvicorn.Server):
    """A server that says when it listens, and ends on a signal as after any other work."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        await super().startup(None if sockets is None else list(sockets))
        self._on_listening()

    def stop(self) -> None:
        """Take nothing new; a second call does not wait for downloads under way."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on a signal, and end as after any other work: uvicorn would send the signal to itself once more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        yield

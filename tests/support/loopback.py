"""A server on this machine that does to each request exactly what a test says, byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

from changeover.serving.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

PATH = "/v1/chat/completions"
BODY = b'{"model":"task","messages":[]}'

Act = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""What a server does after a request: gets it whole, and writes what it likes."""


def whole(body: bytes, head: bytes = OK) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def ask(upstream: Upstream, body: bytes = BODY, *, first_byte_s: float = 5.0, stall_s: float = 5.0) -> bytes:
    async with upstream.send(PATH, body, first_byte_s=first_byte_s, stall_s=stall_s) as answer:
        return await answer.read()


class Loopback:
    """A server on this machine that does to each request what a test says."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        """A client closed its connection."""
        self._act: Act = self.answer(whole(b"{}"))
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._tasks)

    def answer(self, *parts: bytes, close: bool = False, pause_s: float = 0.0) -> Act:
        async def act(request: bytes, writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if close:
                writer.close()

        return act

    def will(self, act: Act) -> None:
        self._act = act

    async def start(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> str:
        """Listen on a free port; gives the address as `base_url` takes it."""
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        return f"{scheme}://{shown}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(
                        (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0
                    )
                    self.requests.append(head + await reader.readexactly(length))
                    self.asked.set()
                    await self._act(self.requests[-1], writer)
        finally:
            self.closed.set()
            writer.close()
            self._tasks.discard(task)

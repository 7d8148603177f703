"""An echo server on loopback that every tool is measured against: the product's echo engine in a process of its own.

`python -m benchmarks.evals.server DELAY_S` prints its address on one line, and ends when standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from changeover.app.listening import address_of, listen
from changeover.serving.engines.echo_app import Behaviour, EchoApp
from changeover.serving.engines.echo_faults import Message, Receive, Scope, Send
from changeover.serving.options import EchoOptions

KEY = "sk-loopback"
"""Every tool sends it as its API key."""


class Watched:
    """The echo engine, and when it was asked first since somebody last looked."""

    def __init__(self, delay_s: float) -> None:
        options = EchoOptions(reply="echo", delay_s=delay_s, chunk_delay_s=0.0, chunks=1)
        behaviour = Behaviour(**options.model_dump())
        self._engine = EchoApp("echo", KEY, behaviour)
        self._first: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/seen":
            await self._tell(send)
            return
        if self._first is None and scope["type"] == "http" and scope["method"] == "POST":
            self._first = time.time()
        await self._engine({"state": {}, **scope}, receive, send)

    async def _tell(self, send: Send) -> None:
        body = json.dumps({"requests": self._engine.requests, "first": self._first}).encode()
        self._first = None
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Server:
    """A running echo server."""

    address: str

    def seen(self) -> dict[str, Any]:
        """Requests in all, and the time of the first one since this was asked last, seconds since the epoch."""
        with urllib.request.urlopen(f"{self.address}/seen", timeout=10) as response:
            return json.load(response)


@contextmanager
def server(delay_s: float) -> Generator[Server]:
    """Run an echo server until the end of the block."""
    command = (sys.executable, "-m", "benchmarks.evals.server", str(delay_s))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit("the echo server did not start")
        yield Server(address)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


async def _serve(delay_s: float) -> None:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        Watched(delay_s), http="httptools", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=600
    )
    print(address_of(listener), flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        uvloop.run(_serve(float(sys.argv[1])))

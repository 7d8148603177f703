"""The way to one engine: sends a body, gives back what arrives, and says in our own words what went wrong.

`interface` says what the rest of the system may use. Two clients offer it: `aio` on aiohttp, and `wire`, our own lean
one, which costs a fraction. Both pass the same tests.
"""

from __future__ import annotations

import importlib
from typing import Literal

from changeover.serving.upstream.interface import MAX_ANSWER_BYTES, Answer, Client, Headers, Sending, Upstream
from changeover.serving.upstream.wire import WireClient

__all__ = [
    "MAX_ANSWER_BYTES",
    "Answer",
    "Client",
    "ClientKind",
    "Headers",
    "Sending",
    "Upstream",
    "make_client",
]

ClientKind = Literal["aiohttp", "wire"]
AIOHTTP = "changeover.serving.upstream.aio"


def make_client(kind: ClientKind) -> Client:
    """A client for all engines of this process. Needs a running event loop; whoever makes it closes it."""
    if kind == "wire":
        return WireClient()
    # Loaded where it is chosen: the library takes 10 MB and a sixth of a second.
    client: Client = importlib.import_module(AIOHTTP).AioClient()
    return client

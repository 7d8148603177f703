"""The way to one engine: sends a body, gives back what arrives, and says in our own words what went wrong.

`interface` says what the rest of the system may use. Two clients offer it: `aio` on aiohttp, and `wire`, our own lean
one, which costs a fraction. Both pass the same tests.
"""

from __future__ import annotations

from typing import Literal

from changeover.serving.upstream.aio import AioClient
from changeover.serving.upstream.interface import MAX_ANSWER_BYTES, Answer, Client, Headers, Sending, Upstream
from changeover.serving.upstream.wire import WireClient

__all__ = ["MAX_ANSWER_BYTES", "Answer", "Client", "ClientKind", "Headers", "Sending", "Upstream", "make_client"]

ClientKind = Literal["aiohttp", "wire"]


def make_client(kind: ClientKind) -> Client:
    """A client for all engines of this process. Needs a running event loop; whoever makes it closes it."""
    return AioClient() if kind == "aiohttp" else WireClient()

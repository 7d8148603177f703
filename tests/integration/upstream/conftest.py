"""Both clients, on both event loops: ours in production is uvloop, but nothing may depend on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from tests.support.loopback import Loopback

from changeover.serving.upstream import Client, ClientKind, Upstream, make_client


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["aiohttp", "wire"])
def kind(request: pytest.FixtureRequest) -> ClientKind:
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    loopback = Loopback()
    yield loopback
    await loopback.stop()


@pytest.fixture
async def client(kind: ClientKind) -> AsyncIterator[Client]:
    client = make_client(kind)
    yield client
    await client.close()


@pytest.fixture
async def upstream(server: Loopback, client: Client) -> Upstream:
    return client.upstream("d", await server.start(), "engine-secret", None)

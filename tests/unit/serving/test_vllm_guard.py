"""The guard before vLLM's server, asked as an ASGI server asks."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from changeover.serving.engines.guard.changeover_guard import Guard

Message = MutableMapping[str, Any]


async def ask(path: str, *, key: bytes | None, kind: str = "http") -> list[Message]:
    """What comes back from an application that says `inside` to everybody."""
    sent: list[Message] = []

    async def inside(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "inside"})

    async def receive() -> Message:
        raise AssertionError("nothing of a body is needed")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"accept", b"*/*"), *([] if key is None else [(b"authorization", key)])]
    await Guard(inside)({"type": kind, "path": path, "headers": headers}, receive, send)
    return sent


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations", "/tokenize", "/metrics", "/healthy", "/"])
@pytest.mark.parametrize("key", [None, b"", b"Bearer", b"Bearer wrong", b"s3cret", b"Bearer s3cret "])
async def test_who_does_not_know_the_secret_gets_no_further(path: str, key: bytes | None) -> None:
    start, body = await ask(path, key=key)
    assert start["status"] == 401
    assert json.loads(body["body"]) == {"error": "Unauthorized"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations", "/metrics"])
async def test_who_knows_it_gets_through(path: str) -> None:
    assert await ask(path, key=b"Bearer s3cret") == [{"type": "inside"}]


async def test_its_health_is_told_to_everybody() -> None:
    assert await ask("/health", key=None) == [{"type": "inside"}]


async def test_a_socket_that_stays_open_is_closed_to_strangers() -> None:
    assert await ask("/v1/realtime", key=None, kind="websocket") == [{"type": "websocket.close", "code": 1008}]


async def test_what_is_no_request_passes() -> None:
    assert await ask("", key=None, kind="lifespan") == [{"type": "inside"}]

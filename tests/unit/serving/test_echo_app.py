from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changeover.serving.engines.echo_app import Behaviour, EchoApp
from changeover.serving.options import EchoOptions

SECRET = "engine-secret"
CALM = Behaviour(**EchoOptions().model_dump())
HELLO = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two  three"}]}


async def ask(
    app: EchoApp, body: object, *, path: str = "/v1/chat/completions", method: str = "POST", key: str = SECRET
) -> tuple[int, bytes]:
    """One request without a socket: status and body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [(b"authorization", f"Bearer {key}".encode())],
        "state": {},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def events(body: bytes) -> list[Any]:
    lines = body.decode().split("\n\n")
    assert lines.pop() == ""
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_an_answer_has_the_shape_of_a_real_one() -> None:
    status, body = await ask(EchoApp("m", SECRET, CALM), HELLO)

    answer = json.loads(body)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "m"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "one two  three", "refusal": None}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


async def test_a_stream_begins_with_the_role_and_ends_with_usage_if_that_was_asked_for() -> None:
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}

    chunks = events((await ask(EchoApp("m", SECRET, CALM), body))[1])

    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 8
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_stream_does_not_give_usage_unasked() -> None:
    chunks = events((await ask(EchoApp("m", SECRET, CALM), {**HELLO, "stream": True}))[1])

    assert all("usage" not in chunk for chunk in chunks)


async def test_a_fixed_reply_is_cut_to_the_tokens_that_are_allowed() -> None:
    app = EchoApp("m", SECRET, replace(CALM, reply="a b c d"))

    answer = json.loads((await ask(app, {**HELLO, "max_tokens": 2}))[1])

    assert answer["choices"][0]["message"]["content"] == "a b"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


async def test_the_last_user_message_is_repeated_even_in_parts() -> None:
    parts = [{"type": "text", "text": "look:"}, {"type": "image_url"}, {"type": "text", "text": "here"}]
    messages = [{"role": "user", "content": "first"}, {"role": "user", "content": parts}, {"role": "assistant"}]

    answer = json.loads((await ask(EchoApp("m", SECRET, CALM), {"messages": messages}))[1])

    assert answer["choices"][0]["message"]["content"] == "look:\nhere"


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(), st.integers(1, 12))
async def test_the_pieces_of_a_stream_are_the_answer(text: str, chunks: int) -> None:
    app = EchoApp("m", SECRET, replace(CALM, chunks=chunks))
    body = {"messages": [{"role": "user", "content": text}], "stream": True}

    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in events((await ask(app, body))[1])]

    assert "".join(pieces) == text
    assert len(pieces) <= chunks + 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        ({}, "'messages' is required"),
        ({"messages": []}, "'messages' is required"),
        ({"messages": ["hi"]}, "must be an object"),
        (b"[" * 100_000, "not JSON"),
    ],
)
async def test_a_wrong_body_is_the_callers_fault(body: object, says: str) -> None:
    status, answer = await ask(EchoApp("m", SECRET, CALM), body)

    assert status == 400
    assert says in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/chat/completions", "POST", 401),
        ("/v1/models", "GET", 401),
        ("/v1/echo/counters", "GET", 401),
        ("/nowhere", "GET", 401),
        ("/health", "GET", 200),
    ],
)
async def test_only_its_health_is_told_without_the_secret(path: str, method: str, status: int) -> None:
    assert (await ask(EchoApp("m", SECRET, CALM), HELLO, path=path, method=method, key="wrong"))[0] == status


@pytest.mark.parametrize(("fault", "status"), [("error_500", 500), ("error_429", 429)])
async def test_a_fault_can_be_a_status(fault: str, status: int) -> None:
    assert (await ask(EchoApp("m", SECRET, replace(CALM, fault=fault)), HELLO))[0] == status


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0, "........"), (0.25, "...x...x"), (0.5, ".x.x.x.x"), (1.0, "xxxxxxxx")]
)
async def test_faults_are_spread_evenly_over_requests(rate: float, expected: str) -> None:
    app = EchoApp("m", SECRET, replace(CALM, fault="error_500", fault_rate=rate))

    seen = ["x" if (await ask(app, HELLO))[0] == 500 else "." for _ in expected]

    assert "".join(seen) == expected

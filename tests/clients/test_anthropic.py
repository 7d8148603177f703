"""Anthropic's official client, on `/v1/messages`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from lane import Gateway

WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Anthropic]:
    # It adds `/v1/messages` itself.
    with Anthropic(base_url=gateway.address, api_key=gateway.key) as it:
        yield it


def asked(text: str, **fields: Any) -> Any:
    return {"model": "summarise", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}


def test_a_message_is_answered(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**asked("The ferry is late.", system="Be short."))
    answer = raw.parse()
    assert answer.model == "summarise"
    assert [block.text for block in answer.content if block.type == "text"] == ["The ferry is late."]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0
    assert raw.headers["x-changeover-deployment"]


def test_a_message_is_streamed(client: Anthropic) -> None:
    with client.messages.stream(**asked("one two three four")) as stream:
        assert "".join(stream.text_stream) == "one two three four"
        final = stream.get_final_message()
    assert final.model == "summarise"
    assert final.stop_reason == "end_turn"


async def test_a_message_is_answered_through_the_asynchronous_client(gateway: Gateway) -> None:
    async with AsyncAnthropic(base_url=gateway.address, api_key=gateway.key) as client:
        answer = await client.messages.create(**asked("hello there"))
    assert answer.content[0].type == "text"


def test_a_tool_is_called(client: Anthropic) -> None:
    answer = client.messages.create(**asked('call weather {"city": "Bergen"}', tools=[WEATHER]))
    assert answer.stop_reason == "tool_use"
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("weather", {"city": "Bergen"})


def test_errors_are_the_clients_own_classes(gateway: Gateway, client: Anthropic) -> None:
    with (
        Anthropic(base_url=gateway.address, api_key="co-wrong") as stranger,
        pytest.raises(anthropic.AuthenticationError, match="API key"),
    ):
        stranger.messages.create(**asked("hi"))
    with pytest.raises(anthropic.NotFoundError, match=r"Known: .*summarise"):
        client.messages.create(**{**asked("hi"), "model": "gpt-9"})
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.create(**{**asked("hi"), "messages": []})

"""LiteLLM as a client: `openai/TASK` with an `api_base`."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest
from lane import Gateway


@pytest.fixture
def target(gateway: Gateway) -> Any:
    """Where every call goes."""
    return {"model": "openai/summarise", "api_base": gateway.url, "api_key": gateway.key}


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_completion_is_answered(target: Any) -> None:
    answer: Any = litellm.completion(**target, messages=user("The ferry is late."))
    assert answer.choices[0].message.content == "The ferry is late."
    assert answer.usage.total_tokens > 0


async def test_a_completion_is_answered_and_streamed_asynchronously(target: Any) -> None:
    answer: Any = await litellm.acompletion(**target, messages=user("hello there"))
    assert answer.choices[0].message.content == "hello there"
    chunks: Any = await litellm.acompletion(**target, messages=user("one two three"), stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]) == "one two three"


def test_a_completion_is_streamed_with_its_usage(target: Any) -> None:
    chunks: Any = list(
        litellm.completion(**target, messages=user("one two"), stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
    assert any(getattr(chunk, "usage", None) for chunk in chunks)


def test_reasoning_arrives_where_litellm_looks_for_it(target: Any) -> None:
    answer: Any = litellm.completion(**{**target, "model": "openai/thinking"}, messages=user("is it late?"))
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("is it late?", "Let me see.")


def test_a_tool_is_called(target: Any) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    asked: Any = {**target, "messages": user('call weather {"city": "Bergen"}'), "tools": [tool]}
    [call] = litellm.completion(**asked).choices[0].message.tool_calls  # pyright: ignore
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bergen"})
    whole: Any = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))
    [call] = whole.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bergen"})


def test_a_text_becomes_a_vector(target: Any) -> None:
    one: Any = litellm.embedding(**target, input=["a ferry"])
    assert all(isinstance(value, float) for value in one.data[0]["embedding"])


def test_errors_are_litellms_own_classes(target: Any) -> None:
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**target, "api_key": "co-wrong"}, messages=user("hi"))
    with pytest.raises(litellm.NotFoundError, match="summarise"):
        litellm.completion(**{**target, "model": "openai/gpt-9"}, messages=user("hi"))
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(
            **{**target, "model": "openai/overloaded"}, messages=user("hi"), num_retries=0, max_retries=0
        )

"""OpenAI's official client for Python."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from lane import Gateway
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = 'call weather {"city": "Bergen"}'
HEADERS = ("x-changeover-route", "x-changeover-deployment", "x-changeover-bundle", "x-changeover-request-id")


class Invoice(BaseModel):
    """What `parse()` shall give."""

    number: str
    cents: int
    paid: bool


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.url, api_key=gateway.key) as it:
        yield it


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_chat_is_answered_under_the_tasks_name(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="summarise", messages=user("The ferry is late."))
    assert answer.model == "summarise"
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "The ferry is late."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_a_stream_is_the_same_answer_in_pieces(client: OpenAI) -> None:
    asked: Any = {"model": "summarise", "messages": user("one two three four five"), "stream": True}
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three four five"
    assert {chunk.model for chunk in chunks} == {"summarise"}
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**asked))


def test_headers_say_who_answered_in_streams_too(client: OpenAI) -> None:
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(model="summarise", messages=user("hello"), stream=stream)
        assert all(raw.headers[name] for name in HEADERS)
        raw.http_response.read()


async def test_many_at_once_are_answered_each_with_its_own(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.key) as client:

        async def ask(number: int) -> str | None:
            answer = await client.chat.completions.create(model="summarise", messages=user(f"number {number}"))
            return answer.choices[0].message.content

        async def stream(number: int) -> str:
            chunks = await client.chat.completions.create(
                model="summarise", messages=user(f"number {number}"), stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])

        answers = await asyncio.gather(*map(ask, range(20)), *map(stream, range(20)))
    assert answers == [f"number {number}" for number in (*range(20), *range(20))]


def test_a_tool_call_comes_and_its_result_goes_back(client: OpenAI) -> None:
    messages = user(CALL)
    first = client.chat.completions.create(model="summarise", messages=messages, tools=[WEATHER]).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls is not None
    [call] = first.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Bergen"}
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}, *user("so it rains?")]
    second = client.chat.completions.create(model="summarise", messages=messages, tools=[WEATHER]).choices[0]
    assert second.message.content == "so it rains?"
    assert not second.message.tool_calls


def test_a_tool_call_comes_in_a_stream(client: OpenAI) -> None:
    asked: Any = {"model": "summarise", "messages": user(CALL), "tools": [WEATHER]}
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        [choice] = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.id
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bergen"})


def test_parse_gives_an_object_of_the_class_that_was_asked_for(client: OpenAI) -> None:
    asked: Any = {"model": "summarise", "messages": user("Invoice 7, paid"), "response_format": Invoice}
    whole = client.chat.completions.parse(**asked).choices[0].message.parsed
    assert isinstance(whole, Invoice)
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert streamed == whole


def test_parse_reads_the_arguments_of_tools(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="summarise",
        messages=user('call Invoice {"number": "7", "cents": 1200, "paid": true}'),
        tools=[openai.pydantic_function_tool(Invoice)],
    )
    assert answer.choices[0].message.tool_calls is not None
    [call] = answer.choices[0].message.tool_calls
    assert call.function.parsed_arguments == Invoice(number="7", cents=1200, paid=True)


def test_json_mode_gives_json(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="summarise", messages=user("as JSON, please"), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_reasoning_is_beside_the_content_and_never_in_it(client: OpenAI) -> None:
    asked: Any = {"model": "thinking", "messages": user("is it late?")}
    message: Any = client.chat.completions.create(**asked).choices[0].message
    assert (message.content, message.reasoning_content) == ("is it late?", "Let me see.")
    said, thought = "", ""
    for chunk in client.chat.completions.create(**asked, stream=True):
        delta: Any = chunk.choices[0].delta
        said += delta.content or ""
        thought += getattr(delta, "reasoning_content", None) or ""
    assert (said, thought) == ("is it late?", "Let me see.")


def test_embeddings_come_in_order_and_alike_as_floats_and_as_base64(client: OpenAI) -> None:
    texts = ["a ferry", "a train", "a ferry"]
    plain = client.embeddings.create(model="summarise", input=texts, encoding_format="float")
    packed = client.embeddings.create(model="summarise", input=texts)  # base64 on the wire, which the client unpacks
    assert plain.model == packed.model == "summarise"
    assert [each.index for each in plain.data] == [0, 1, 2]
    assert plain.data[0].embedding == plain.data[2].embedding != plain.data[1].embedding
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
    assert plain.usage.prompt_tokens > 0
    [raw] = client.embeddings.create(model="summarise", input="a ferry", encoding_format="base64").data
    assert isinstance(raw.embedding, str)


async def test_embeddings_come_through_the_asynchronous_client_too(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.key) as client:
        answer = await client.embeddings.create(model="summarise", input="a ferry")
    assert all(isinstance(value, float) for value in answer.data[0].embedding)


def test_legacy_completions_are_answered_whole_and_streamed(client: OpenAI) -> None:
    whole = client.completions.create(model="summarise", prompt="once upon a time", max_tokens=50)
    assert whole.model == "summarise"
    assert whole.choices[0].text.endswith("once upon a time")
    streamed = client.completions.create(model="summarise", prompt="once upon a time", max_tokens=50, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.choices[0].text


def test_a_response_is_answered(client: OpenAI) -> None:
    answer = client.responses.create(
        model="summarise", instructions="Be short.", input="The ferry is late.", store=False
    )
    assert answer.model == "summarise"
    assert answer.status == "completed"
    assert answer.output_text == "The ferry is late."
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


def test_a_response_is_streamed_as_typed_events(client: OpenAI) -> None:
    said, kinds = "", list[str]()
    for event in client.responses.create(model="summarise", input="one two three four", stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            said += event.delta
        if event.type == "response.completed":
            assert event.response.model == "summarise"
            assert event.response.output_text == said
    assert said == "one two three four"
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_a_response_calls_tools_and_has_a_shape(client: OpenAI) -> None:
    tool: Any = {"type": "function", "strict": False, **WEATHER["function"]}
    called = client.responses.create(model="summarise", input=CALL, tools=[tool])
    [call] = [item for item in called.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Bergen"})
    shaped = client.responses.parse(model="summarise", input="Invoice 7, paid", text_format=Invoice)
    assert isinstance(shaped.output_parsed, Invoice)


def test_what_would_have_to_be_kept_for_a_response_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="summarise", input="and then?", previous_response_id="resp_1")


def test_models_are_the_tasks(client: OpenAI) -> None:
    assert {"summarise", "thinking"} <= {model.id for model in client.models.list()}
    one = client.models.retrieve("summarise")
    assert (one.id, one.object) == ("summarise", "model")
    with pytest.raises(openai.NotFoundError, match="summarise"):
        client.models.retrieve("gpt-9")


def test_errors_are_the_clients_own_classes(gateway: Gateway, client: OpenAI) -> None:
    with (
        OpenAI(base_url=gateway.url, api_key="co-wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as unknown,
    ):
        stranger.chat.completions.create(model="summarise", messages=user("hi"))
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError, match="summarise") as not_found:
        client.chat.completions.create(model="sumarise", messages=user("hi"))
    assert (not_found.value.code, not_found.value.type) == ("unknown_task", "not_found_error")
    with pytest.raises(openai.BadRequestError, match="messages") as bad:
        client.chat.completions.create(model="summarise", messages=[])
    assert bad.value.code == "invalid_request"
    assert bad.value.response.headers["x-changeover-request-id"].startswith("req_")
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(base_url=gateway.address).get("/metrics", cast_to=object)


def test_a_busy_model_is_asked_again_after_the_time_it_names(gateway: Gateway) -> None:
    asked: list[float] = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda _: asked.append(time.monotonic())]})
    with (
        OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=1, http_client=http) as client,
        pytest.raises(openai.RateLimitError) as limited,
    ):
        client.chat.completions.create(model="overloaded", messages=user("hi"))
    assert int(limited.value.response.headers["retry-after"]) >= 1
    first, second = asked
    assert second - first >= 0.95, "it came back too early"


async def test_a_limit_of_a_key_is_met_by_coming_back_later(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.keys["limited"], max_retries=0) as hasty:
        answers = await asyncio.gather(
            *(hasty.chat.completions.create(model="slow", messages=user("hi")) for _ in range(3)),
            return_exceptions=True,
        )
    assert sum(isinstance(answer, openai.RateLimitError) for answer in answers) == 2
    async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.keys["limited"], max_retries=5) as patient:
        await asyncio.gather(*(patient.chat.completions.create(model="slow", messages=user("hi")) for _ in range(2)))

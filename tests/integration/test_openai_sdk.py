"""OpenAI's official client through the whole system: what it adds to plain HTTP. Other clients: `make test-clients`."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from tests.support.projects import open_written, running, write_project

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Invoice(BaseModel):
    number: str
    paid: bool


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[AsyncOpenAI]:
    async with running(open_written(write_project(tmp_path / "p"))) as up:
        await up.ready("echo")
        async with AsyncOpenAI(base_url=f"{up.address}/v1", api_key=up.key, max_retries=0) as it:
            yield it


def asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


async def test_tools_are_called_whole_and_in_a_stream(client: AsyncOpenAI) -> None:
    question = asked('call weather {"city": "Bergen"}', tools=[WEATHER])
    whole = await client.chat.completions.create(**question)
    async with client.chat.completions.stream(**question) as stream:
        streamed = await stream.get_final_completion()
    for choice in (whole.choices[0], streamed.choices[0]):
        assert choice.finish_reason == "tool_calls"
        [call] = choice.message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bergen"})


async def test_parse_gives_an_object_of_the_class(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(**asked("Invoice 7, paid", response_format=Invoice))
    assert isinstance(answer.choices[0].message.parsed, Invoice)


async def test_embeddings_are_alike_as_floats_and_as_base64(client: AsyncOpenAI) -> None:
    plain = await client.embeddings.create(model="echo", input=["a ferry", "a train"], encoding_format="float")
    packed = await client.embeddings.create(model="echo", input=["a ferry", "a train"])
    assert plain.model == "echo"
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)


async def test_completions_and_responses_are_answered_under_the_tasks_name(client: AsyncOpenAI) -> None:
    completion = await client.completions.create(model="echo", prompt="once upon a time")
    assert (completion.model, completion.choices[0].text[-16:]) == ("echo", "once upon a time")
    response = await client.responses.create(model="echo", input="one two three")
    assert (response.model, response.output_text) == ("echo", "one two three")
    events = [event async for event in await client.responses.create(model="echo", input="one two three", stream=True)]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "one two three"
    assert events[-1].type == "response.completed"
    assert events[-1].response.model == "echo"


async def test_headers_say_who_answered(client: AsyncOpenAI) -> None:
    for stream in (False, True):
        raw = await client.chat.completions.with_raw_response.create(**asked("hi", stream=stream))
        assert raw.headers["x-changeover-deployment"] == "echo"
        await raw.http_response.aread()


async def test_errors_are_the_clients_own_classes(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="co-wrong").chat.completions.create(**asked("hi"))
    with pytest.raises(openai.NotFoundError, match="Known: echo") as unknown:
        await client.models.retrieve("gpt-9")
    assert (unknown.value.code, unknown.value.type) == ("unknown_task", "not_found_error")
    with pytest.raises(openai.BadRequestError, match="messages"):
        await client.chat.completions.create(model="echo", messages=[])
    assert (await client.models.retrieve("echo")).id == "echo"

"""The echo engine's answers in every shape, each read back by the official client's own types."""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from tests.unit.serving.test_echo_app import CALM, SECRET, ask

from changeover.serving.engines.echo_answer import Behaviour
from changeover.serving.engines.echo_app import EchoApp
from changeover.serving.engines.echo_schema import missing, smallest

TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city", "days"],
    },
}
CHAT_TOOLS = [{"type": "function", "function": TOOL}]
ORDER = 'please call weather {"city": "Oslo", "days": 3}'
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "number"}}, "required": ["a", "b"]},
    {"type": "array", "items": {"type": "integer", "minimum": 5, "maximum": 9}, "minItems": 2},
    {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "null"}}}, "required": ["l"]},
    {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "object", "properties": {"d": {"format": "date", "type": "string"}}}},
    },
    {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    {"type": ["string", "null"]},
    {
        "allOf": [
            {"type": "object", "properties": {"p": {"const": 7}}, "required": ["p"]},
            {"properties": {"q": {"exclusiveMinimum": 2, "type": "number"}}, "required": ["q"]},
        ]
    },
]


async def call(path: str, body: dict[str, Any], **options: Any) -> Any:
    status, answer = await ask(EchoApp("m", SECRET, replace(CALM, **options)), body, path=path)
    assert status == 200, answer
    return json.loads(answer)


async def stream(path: str, body: dict[str, Any], **options: Any) -> list[Any]:
    status, answer = await ask(EchoApp("m", SECRET, replace(CALM, **options)), {**body, "stream": True}, path=path)
    assert status == 200, answer
    data = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def chat(text: str, behaviour: dict[str, Any] | None = None, **fields: Any) -> Any:
    """The first choice's message, of a whole answer and of a stream, which must be the same."""
    body = {"messages": user(text), **fields}
    whole = await call("/v1/chat/completions", body, **(behaviour or {}))
    ChatCompletion.model_validate(whole)
    joined: dict[str, Any] = {}
    calls: dict[int, Any] = {}
    finish = None
    for chunk in await stream("/v1/chat/completions", body, **(behaviour or {})):
        ChatCompletionChunk.model_validate(chunk)
        for choice in chunk["choices"]:
            if choice["index"] == 0:
                finish = choice["finish_reason"] or finish
                for key in ("content", "reasoning_content"):
                    if key in choice["delta"]:
                        joined[key] = joined.get(key, "") + choice["delta"][key]
                for delta in choice["delta"].get("tool_calls", ()):
                    known = calls.setdefault(delta["index"], {"arguments": ""})
                    known["name"] = delta["function"].get("name", known.get("name"))
                    known["arguments"] += delta["function"]["arguments"]
    message = whole["choices"][0]["message"]
    assert (message["content"] or "") == joined["content"]
    assert message.get("reasoning_content") == joined.get("reasoning_content")
    assert [each["function"] for each in message.get("tool_calls", ())] == [
        {"name": each["name"], "arguments": each["arguments"]} for each in calls.values()
    ]
    assert whole["choices"][0]["finish_reason"] == finish
    return {**message, "finish_reason": finish}


async def test_a_tool_is_called_as_the_user_orders_it() -> None:
    message = await chat(ORDER, tools=CHAT_TOOLS)

    [made] = message["tool_calls"]
    assert message["content"] is None
    assert message["finish_reason"] == "tool_calls"
    assert made["function"]["name"] == "weather"
    assert json.loads(made["function"]["arguments"]) == {"city": "Oslo", "days": 3}


async def test_several_tools_are_called_at_once() -> None:
    message = await chat("call weather {} and call weather", tools=CHAT_TOOLS)
    assert [each["function"]["arguments"] for each in message["tool_calls"]] == ["{}", "{}"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
async def test_a_call_that_has_to_be_made_has_the_arguments_that_its_schema_requires(choice: object) -> None:
    message = await chat("hello", tools=CHAT_TOOLS, tool_choice=choice)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "aa", "days": 1}


async def test_no_tool_is_called_unasked_or_when_the_tool_has_answered() -> None:
    assert (await chat("hello", tools=CHAT_TOOLS))["content"] == "hello"
    assert (await chat(ORDER, tools=CHAT_TOOLS, tool_choice="none"))["content"] == ORDER
    assert (await chat(ORDER))["content"] == ORDER
    done = [*user(ORDER), {"role": "assistant", "content": None}, {"role": "tool", "content": "rain"}]
    answer = await call("/v1/chat/completions", {"messages": done, "tools": CHAT_TOOLS})
    assert answer["choices"][0]["message"]["content"] == "rain"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("hermes", '<tool_call>\n{"name": "weather", "arguments": {"city":"Oslo","days":3}}\n</tool_call>'),
        (
            "qwen_coder",
            "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
            "</function>\n</tool_call>",
        ),
        (
            "glm",
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
            "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        ),
        (
            "minimax",
            '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Oslo</parameter>\n'
            '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        ),
        (
            "kimi",
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
            '{"city":"Oslo","days":3}<|tool_call_end|><|tool_calls_section_end|>',
        ),
        (
            "deepseek",
            "<!tool▁calls▁begin!><!tool▁call▁begin!>function<!tool▁sep!>weather\n```json\n"
            '{"city":"Oslo","days":3}\n```<!tool▁call▁end!><!tool▁calls▁end!>'.replace("!", "\uff5c"),
        ),
        (
            "harmony",
            '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city":"Oslo","days":3}<|call|>',
        ),
        ("gemma4", '<|tool_call>call:weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|>'),
    ],
)
async def test_a_family_writes_its_calls_into_the_content(form: str, text: str) -> None:
    message = await chat(ORDER, {"tool_format": form}, tools=CHAT_TOOLS)
    assert (message["content"], message["finish_reason"]) == (text, "stop")
    assert "tool_calls" not in message


@pytest.mark.parametrize(
    ("form", "content", "field"),
    [
        ("none", "hello", None),
        ("field", "hello", "let me see"),
        ("think", "<think>\nlet me see\n</think>\n\nhello", None),
        ("think_open", "let me see\n</think>\n\nhello", None),
        (
            "harmony",
            "<|channel|>analysis<|message|>let me see<|end|><|start|>assistant<|channel|>final<|message|>hello",
            None,
        ),
        ("gemma4", "<|channel>thought\nlet me see<channel|>hello", None),
    ],
)
async def test_reasoning_comes_as_a_family_writes_it(form: str, content: str, field: str | None) -> None:
    options = {"reasoning": "let me see", "reasoning_format": form}
    message = await chat("hello", options)
    assert (message["content"], message.get("reasoning_content")) == (content, field)
    for off in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        assert (await chat("hello", options, **off))["content"].endswith("hello")
        assert "let me see" not in (await chat("hello", options, **off))["content"]


async def test_a_model_that_is_stopped_while_it_thinks_says_nothing() -> None:
    options = {"reasoning": "one two three", "reasoning_format": "think"}
    message = await chat("hello", options, max_tokens=2)
    assert (message["content"], message["finish_reason"]) == ("<think>\none two", "length")


async def test_it_stops_where_it_shall_and_gives_as_many_choices_as_wanted() -> None:
    answer = await call("/v1/chat/completions", {"messages": user("one two END three"), "stop": "END", "n": 3})
    assert [each["message"]["content"] for each in answer["choices"]] == ["one two "] * 3
    assert answer["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_smallest_value_of_a_schema_is_valid_and_the_missing_one_is_not(schema: dict[str, Any]) -> None:
    check = Draft202012Validator(schema)
    assert check.is_valid(smallest(schema)), smallest(schema)
    assert not check.is_valid(missing(schema))


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_no_schema_is_too_strange_to_be_answered(schema: Any) -> None:
    if isinstance(schema, dict):
        json.dumps(smallest(schema))


async def test_structured_output_is_obeyed_ignored_or_broken_as_told() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMAS[1]}}
    check = Draft202012Validator(SCHEMAS[1])

    async def said(how: str, *more: dict[str, Any]) -> str:
        body = {"messages": [*user("hello"), *more], "response_format": wanted}
        answer = await call("/v1/chat/completions", body, structured=how)
        return answer["choices"][0]["message"]["content"]

    assert check.is_valid(json.loads(await said("grammar")))
    assert await said("ignored") == "hello"
    broken = await said("broken_once")
    assert not check.is_valid(json.loads(broken))
    assert broken == await said("broken")
    shown = ({"role": "assistant", "content": broken}, {"role": "user", "content": "again, please"})
    assert check.is_valid(json.loads(await said("broken_once", *shown)))
    assert await said("broken", *shown) == broken
    objects = await chat("hello", response_format={"type": "json_object"})
    assert json.loads(objects["content"]) == {"answer": "hello"}


@pytest.mark.parametrize(
    ("options", "body", "says"),
    [
        ({"system_role": False}, {"messages": [{"role": "system", "content": "x"}, *user("y")]}, "System role"),
        ({"unknown_fields": "refuse"}, {"messages": user("y"), "top_k": 3}, "not permitted: top_k"),
        (
            {"context_tokens": 2},
            {"messages": user("a b c")},
            "request (3 tokens) exceeds the available context size (2",
        ),
        ({}, {"messages": user("y"), "n": 0}, "'n'"),
        ({}, {"messages": user("y"), "tools": [{}]}, "'tools'"),
        (
            {},
            {"messages": user("y"), "tools": CHAT_TOOLS, "tool_choice": {"function": {"name": "x"}}},
            "none of 'tools'",
        ),
        ({}, {"messages": user("y"), "response_format": {"type": "json_schema"}}, "needs a schema"),
    ],
)
async def test_what_an_engine_does_not_take_is_a_400(options: Any, body: Any, says: str) -> None:
    app = EchoApp("m", SECRET, replace(CALM, **options))
    status, answer = await ask(app, body)
    error = json.loads(answer)["error"]
    assert status == error["code"] == 400
    assert says in error["message"]
    assert app.requests == 0
    if "context_tokens" in options:
        assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", 3, 2)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("a b", ["a b"]), (["a", "b"], ["a", "b"]), ([1, 2], ["1 2"]), ([[1], [2, 3]], ["1", "2 3"])],
)
async def test_completions_answer_each_prompt(prompt: object, said: list[str]) -> None:
    whole = await call("/v1/completions", {"prompt": prompt})
    Completion.model_validate(whole)
    assert [each["text"] for each in whole["choices"]] == said
    texts = [""] * len(said)
    body = {"prompt": prompt, "stream_options": {"include_usage": True}}
    chunks = await stream("/v1/completions", body)
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == said
    assert chunks[-1]["usage"] == whole["usage"]


async def test_embeddings_are_unit_vectors_of_the_text() -> None:
    plain = await call("/v1/embeddings", {"input": ["one", "two", "one"], "dimensions": 8})
    CreateEmbeddingResponse.model_validate(plain)
    one, two, again = (each["embedding"] for each in plain["data"])
    assert one == again != two
    assert math.hypot(*one) == pytest.approx(1)
    packed = await call("/v1/embeddings", {"input": "one", "dimensions": 8, "encoding_format": "base64"})
    vector = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert vector == pytest.approx(one)
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert len((await call("/v1/embeddings", {"input": [[1, 2], [3]]}))["data"]) == 2
    for wrong in (
        {"input": []},
        {"input": [1, "a"]},
        {"input": "a", "dimensions": 0},
        {"input": "a", "encoding_format": "x"},
    ):
        assert (await ask(EchoApp("m", SECRET, CALM), wrong, path="/v1/embeddings"))[0] == 400


@pytest.mark.parametrize("reasoning", ["", "let me see"])
async def test_a_response_and_its_events_tell_the_same(reasoning: str) -> None:
    body = {"input": ORDER, "instructions": "be brief", "tools": [{"type": "function", **TOOL}]}
    options = {"reasoning": reasoning, "reasoning_format": "field"}
    for asked in ({"input": "one two"}, body):
        whole = await call("/v1/responses", asked, **options)
        Response.model_validate(whole)
        told = await stream("/v1/responses", asked, **options)
        events = [TypeAdapter[Any](ResponseStreamEvent).validate_python(each) for each in told]
        assert [each.sequence_number for each in events] == list(range(len(events)))
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
        last = events[-1].response.model_dump()
        keys = ("type", "content", "name", "arguments", "call_id")
        assert [{key: each.get(key) for key in keys} for each in last["output"]] == [
            {key: each.get(key) for key in keys} for each in Response.model_validate(whole).model_dump()["output"]
        ]
        assert told[-1]["response"]["usage"] == whole["usage"]
        kinds = [each["type"] for each in whole["output"]]
        assert kinds == ["reasoning"] * bool(reasoning) + ["message" if asked is not body else "function_call"]
        deltas = [each.delta for each in events if each.type.endswith(("_text.delta", "_arguments.delta"))]
        expected = "one two" if asked is not body else '{"city":"Oslo","days":3}'
        assert "".join(deltas) == reasoning + expected


async def test_a_response_that_is_cut_off_says_that_it_is_incomplete() -> None:
    body = {"input": "one two three", "max_output_tokens": 2}
    assert (await call("/v1/responses", body))["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (await stream("/v1/responses", body))[-1]["type"] == "response.incomplete"


async def test_a_response_takes_items_and_the_results_of_tools() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": ORDER}]},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"},
    ]
    answer = await call("/v1/responses", {"input": items, "tools": [{"type": "function", **TOOL}]})
    assert answer["output"][0]["content"][0]["text"] == "rain"
    shape = {"format": {"type": "json_schema", "name": "s", "schema": SCHEMAS[1]}}
    answer = await call("/v1/responses", {"input": "hello", "text": shape})
    assert json.loads(answer["output"][0]["content"][0]["text"]) == {"a": "x", "b": 0}


async def test_a_message_and_its_events_tell_the_same() -> None:
    tool = {"name": "weather", "input_schema": TOOL["parameters"]}
    body = {"system": "be brief", "messages": user(ORDER), "tools": [tool], "max_tokens": 50}
    options = {"reasoning": "let me see", "reasoning_format": "field"}
    for asked in (body, {**body, "tools": []}):
        whole = await call("/v1/messages", asked, **options)
        told = await stream("/v1/messages", asked, **options)
        blocks: list[dict[str, Any]] = []
        for each in told:
            if each["type"] == "content_block_start":
                blocks.append({**each["content_block"], "json": ""})
            elif each["type"] == "content_block_delta":
                delta = each["delta"]
                key = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "json"}[delta["type"]]
                blocks[-1][key] += delta["partial_json" if key == "json" else key]
        for block in blocks:
            text = block.pop("json")
            if block["type"] == "tool_use":
                block["input"] = json.loads(text)
        assert blocks == whole["content"]
        assert told[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
        assert told[-2]["delta"]["stop_reason"] == whole["stop_reason"]
        assert told[-2]["usage"] == whole["usage"]
        assert (told[0]["type"], told[-1]["type"]) == ("message_start", "message_stop")
    results = [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}]
    answered = await call("/v1/messages", {**body, "messages": [*user(ORDER), {"role": "user", "content": results}]})
    assert answered["content"] == [{"type": "text", "text": "rain"}]
    assert answered["stop_reason"] == "end_turn"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("fault", ["missing_usage", "no_done", "malformed_event", "wrong_shape", "wrong_json"])
async def test_faults_come_on_every_surface(path: str, fault: str) -> None:
    body = {"messages": user("one two"), "prompt": "one two", "input": "one two", "stream": True}
    behaviour: Behaviour = replace(CALM, fault=fault)
    status, answer = await ask(EchoApp("m", SECRET, behaviour), body, path=path)
    assert status == 200
    text = answer.decode()
    ends = any(mark in text for mark in ("[DONE]", "response.completed", '"message_stop"'))
    assert ends == (fault in ("missing_usage", "malformed_event"))
    if fault == "missing_usage":
        assert '"usage":{' not in text


async def test_a_leak_puts_reasoning_into_the_content_and_a_huge_chunk_is_one() -> None:
    leak = await chat("hello", {"fault": "leaked_reasoning"})
    assert leak["content"] == "<think>\nLet me think about it first.\n</think>\n\nhello"
    chunks = await stream("/v1/chat/completions", {"messages": user("hello ")}, fault="huge_chunk")
    sizes = [len(chunk["choices"][0]["delta"].get("content", "")) for chunk in chunks]
    assert sorted(sizes)[-2:] == [0, 4 << 20]

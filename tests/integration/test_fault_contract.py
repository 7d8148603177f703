"""What the gateway makes of engines that answer, but not as asked: too long, too short, another shape, another dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.support.faults import calm, canary, engine, fault_task
from tests.support.projects import Running, open_written, running, write_project

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}
WANTED = {"response_format": {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
THOUGHT = "let me see"
FAMILIES = ("hermes", "qwen_coder", "glm", "minimax", "kimi", "deepseek", "harmony", "gemma4", "native")
REASONING = ("field", "think", "think_open", "harmony", "gemma4")

ENGINES: Mapping[str, dict[str, Any]] = {
    "short": {"context_tokens": 12},
    "shorter": {"context_tokens": 6},
    "broken": {"structured": "broken"},
    "broken-once": {"structured": "broken_once"},
    "ignores": {"structured": "ignored"},
    "no-system": {"system_role": False},
    "strict": {"unknown_fields": "refuse"},
    "leaky": {"fault": "leaked_reasoning"},
    **{f"tools-{form}": {"tool_format": form} for form in FAMILIES},
    **{f"thinks-{form}": {"reasoning": THOUGHT, "reasoning_format": form} for form in REASONING},
}
TURNS = ("short", "shorter", "broken", "broken-once", "ignores")


@dataclass(frozen=True)
class Stage:
    up: Running
    http: aiohttp.ClientSession

    async def ask(self, task: str, text: str = "hello", **fields: Any) -> tuple[int, str, Any]:
        """Status, who answered, and the whole answer; of a stream, its events put together as one."""
        body = {"model": task, "messages": [{"role": "user", "content": text}], **fields}
        async with self.http.post(CHAT, json=body) as response:
            text = await response.text()
            answer = joined(text) if response.content_type == "text/event-stream" else json.loads(text)
            return response.status, response.headers.get("x-changeover-deployment", ""), answer


def joined(text: str) -> dict[str, Any]:
    """A stream as the whole answer that it tells of; with `error` if it ends with one."""
    message: dict[str, Any] = {"content": ""}
    calls: dict[int, dict[str, Any]] = {}
    finish = None
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if "error" in events[-1]:
        assert "[DONE]" not in text
        return {"error": events[-1]["error"]}
    for choice in (choice for event in events for choice in event["choices"]):
        finish = choice["finish_reason"] or finish
        for key in ("content", "reasoning_content"):
            if choice["delta"].get(key):
                message[key] = message.get(key, "") + choice["delta"][key]
        for delta in choice["delta"].get("tool_calls") or ():
            known = calls.setdefault(delta["index"], {"id": delta.get("id"), "function": {"name": "", "arguments": ""}})
            for key in ("name", "arguments"):
                known["function"][key] += delta["function"].get(key) or ""
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    assert text.endswith("data: [DONE]\n\n")
    return {"choices": [{"message": message, "finish_reason": finish}]}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    project = write_project(tmp_path_factory.mktemp("contract") / "p")
    for name, options in ENGINES.items():
        fault_task(project, name, {}, options)
    for name in TURNS:
        fault_task(project, f"turn-{name}", {})
    async with running(open_written(project)) as up:
        await up.ready("echo", *(f"echo-{name}" for name in ENGINES), timeout_s=120)
        for name in TURNS:
            await canary(up, f"turn-{name}", f"echo-{name}")
        async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
            yield Stage(up, http)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(stage: Stage, stream: bool) -> None:
    status, _, answer = await stage.ask("short", "word " * 40, stream=stream)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    # The task's prompt has three words.
    assert "43" in answer["error"]["message"]
    assert "12" in answer["error"]["message"]
    assert (await stage.ask("short", "word", stream=stream))[0] == 200


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_prompt_that_is_too_long_for_the_candidate_goes_to_the_next(stage: Stage, stream: bool) -> None:
    assert (await stage.ask("turn-short", "word " * 40, stream=stream))[:2] == (200, "echo")
    assert (await stage.ask("turn-short", "word", stream=stream))[:2] == (200, "echo-short")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_of_another_shape_is_asked_for_once_more(stage: Stage, stream: bool) -> None:
    """Not where an engine that is said to obey streams: what the caller has cannot be taken back."""
    look = await engine(stage.up, "echo-broken-once")
    before = await look.counters()
    status, by, answer = await stage.ask("broken-once", stream=stream, **WANTED)
    after = await look.counters()
    if stream:
        assert answer["error"]["code"] == "structured_output_failed"
        return
    assert (status, by) == (200, "echo-broken-once")
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"mood": "good"}
    assert after["requests"] - before["requests"] == 2


async def test_an_answer_that_stays_of_another_shape_comes_from_the_next_or_is_refused(stage: Stage) -> None:
    for name in ("broken", "ignores"):
        status, _, answer = await stage.ask(name, **WANTED)
        assert (status, answer["error"]["code"], answer["error"]["source"]) == (
            502,
            "structured_output_failed",
            "model",
        )
        status, by, answer = await stage.ask(f"turn-{name}", **WANTED)
        assert (status, by) == (200, "echo")
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"mood": "good"}


async def test_a_stream_of_an_engine_without_grammars_is_looked_at_before_it_begins(stage: Stage) -> None:
    status, _, answer = await stage.ask("ignores", stream=True, **WANTED)
    assert (status, answer["error"]["code"]) == (502, "structured_output_failed")
    status, by, answer = await stage.ask("turn-ignores", stream=True, **WANTED)
    assert (status, by) == (200, "echo")
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"mood": "good"}


async def test_a_stream_of_another_shape_than_promised_ends_with_an_error(stage: Stage) -> None:
    _, _, answer = await stage.ask("turn-broken", stream=True, **WANTED)
    assert answer["error"]["code"] == "structured_output_failed"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_family_without_a_system_role_is_told_its_task_all_the_same(stage: Stage, stream: bool) -> None:
    status, _, answer = await stage.ask("no-system", stream=stream)
    assert status == 200
    assert answer["choices"][0]["message"]["content"].endswith("hello")


async def test_an_engine_that_refuses_fields_does_not_see_them(stage: Stage) -> None:
    for field in ({"top_k": 3}, {"chat_template_kwargs": {"enable_thinking": False}}):
        assert (await stage.ask("strict", **field))[0] == 200


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("form", FAMILIES)
async def test_tool_calls_have_one_shape(stage: Stage, form: str, stream: bool) -> None:
    order = 'call weather {"city": "São Paulo <b>", "days": 3} and call weather {"city": "Oslo"}'
    _, _, answer = await stage.ask(f"tools-{form}", order, tools=[TOOL], stream=stream)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert not choice["message"].get("content")
    calls = choice["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == len(calls)
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == [
        ("weather", {"city": "São Paulo <b>", "days": 3}),
        ("weather", {"city": "Oslo"}),
    ]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("form", REASONING)
async def test_reasoning_has_one_place(stage: Stage, form: str, stream: bool) -> None:
    _, _, answer = await stage.ask(f"thinks-{form}", "one two three", stream=stream)
    message = answer["choices"][0]["message"]
    assert message["content"] == "one two three"
    assert message["reasoning_content"].strip() == THOUGHT


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("form", REASONING)
async def test_thinking_is_turned_off_by_one_word(stage: Stage, form: str, stream: bool) -> None:
    _, _, answer = await stage.ask(f"thinks-{form}", "one two", stream=stream, reasoning_effort="none")
    message = answer["choices"][0]["message"]
    assert message["content"] == "one two"
    assert not message.get("reasoning_content")


async def test_nothing_is_left_under_way(stage: Stage) -> None:
    await calm(stage.up, *(f"echo-{name}" for name in ENGINES))
    assert asyncio.get_running_loop().is_running()

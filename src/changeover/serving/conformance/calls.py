"""Probes of tool calls. Whether a model calls a tool by itself is its own wit: then it is said that it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.serving.conformance.outcome import Absent, Beside, Wrong
from changeover.serving.conformance.talk import Streamed, Talk, Whole

CITIES = ("Paris", "Rome")
WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": list(CITIES)}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Tells the time of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOLS = [WEATHER, TIME]
ASK = 'What is the weather in Paris? Please call get_weather {"city": "Paris"} to find out.'
ASK_TWO = 'Please call get_weather {"city": "Paris"} and call get_weather {"city": "Rome"}, both at once.'
JOKE = "Tell me a joke about ducks."
MOST = 48
NAMED = {"type": "function", "function": {"name": "get_weather"}}


async def one(talk: Talk) -> str:
    """A call that the model makes stands in `tool_calls`, its arguments as JSON that fits."""
    _in_fields(talk)
    answer = await talk.chat(ASK, tools=TOOLS, max_tokens=MOST)
    return _checked(_called(talk, answer))


async def streamed(talk: Talk) -> str:
    """A call comes in a stream piece by piece, and its pieces make a whole one."""
    _in_fields(talk)
    forced = {"tool_choice": "required"} if talk.subject.standing["tools_forced"] else {}
    answer = await talk.stream(ASK, tools=TOOLS, max_tokens=MOST, **forced)
    return _checked(_called(talk, answer))


async def parallel(talk: Talk) -> str:
    """Several calls in one answer, each with an id of its own."""
    _in_fields(talk)
    answer = await talk.chat(ASK_TWO, tools=TOOLS, max_tokens=2 * MOST)
    calls = _called(talk, answer)
    _checked(calls)
    if len(calls) < 2:
        raise Beside("the model made one call")
    if len({call.get("id") for call in calls}) < len(calls):
        raise Wrong("two calls have the same id")
    return f"{len(calls)} calls"


async def reason(talk: Talk) -> str:
    """`finish_reason` is `tool_calls` where a tool is called."""
    _in_fields(talk)
    forced = {"tool_choice": "required"} if talk.subject.standing["tools_forced"] else {}
    answer = await talk.chat(ASK, tools=TOOLS, max_tokens=MOST, **forced)
    _called(talk, answer)
    if answer.finish != "tool_calls":
        raise Wrong(f"`finish_reason` is `{answer.finish}`")
    return "tool_calls"


async def results(talk: Talk) -> str:
    """What a tool answered is taken, and read."""
    _has_parser(talk)
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    turns: list[Mapping[str, Any]] = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It rains, at 12 degrees."},
    ]
    answer = await talk.chat(turns, tools=TOOLS)
    if not answer.text and not answer.calls:
        raise Wrong("nothing was said to it")
    return f"{answer.text[:60]!r}"


async def forced(talk: Talk) -> str:
    """`tool_choice` = `required` has a call made where the model would make none."""
    _has_parser(talk)
    answer = await talk.chat(JOKE, tools=TOOLS, tool_choice="required", max_tokens=MOST)
    _enforced(answer)
    return _checked(answer.calls)


async def named(talk: Talk) -> str:
    """`tool_choice` that names a tool has that one called, whole and streamed."""
    _has_parser(talk)
    answer = await talk.chat(JOKE, tools=TOOLS, tool_choice=NAMED, max_tokens=MOST)
    _enforced(answer)
    said = _checked(answer.calls, only="get_weather")
    again = await talk.stream(JOKE, tools=TOOLS, tool_choice=NAMED, max_tokens=MOST)
    _enforced(again)
    _checked(again.calls, only="get_weather")
    return said


def _in_fields(talk: Talk) -> None:
    form = talk.subject.profile.tool_calls
    if talk.subject.through == "engine" and form not in ("native", "native_or_bare"):
        raise Beside(f"the engine leaves calls in the text (`{form}`): the gateway reads them")


def _has_parser(talk: Talk) -> None:
    if talk.subject.through == "engine" and talk.subject.profile.tool_calls == "none":
        raise Beside("this deployment's engine is told no tools: the gateway describes them in the prompt")


def _is_bare(talk: Talk) -> bool:
    return talk.subject.through == "engine" and talk.subject.profile.tool_calls == "native_or_bare"


def _enforced(answer: Whole | Streamed) -> None:
    if not answer.calls:
        raise Absent(f"`tool_choice` is ignored without a word: {answer.text[:60]!r}")


def _called(talk: Talk, answer: Whole | Streamed) -> Sequence[dict[str, Any]]:
    if answer.calls:
        return answer.calls
    if '"name"' in answer.text and "get_weather" in answer.text and _is_bare(talk):
        raise Beside(f"the model wrote bare JSON, which the gateway reads: {answer.text[:60]!r}")
    if '"name"' in answer.text and "get_weather" in answer.text:
        raise Wrong(f"a call stands in the text: {answer.text[:60]!r}")
    raise Beside("the model did not call a tool")


def _checked(calls: Sequence[dict[str, Any]], only: str | None = None) -> str:
    for call in calls:
        function = cast("dict[str, Any]", call.get("function") or {})
        name, arguments = function.get("name"), function.get("arguments")
        if name not in ("get_weather", "get_time") or (only is not None and name != only):
            raise Wrong(f"`{name}` was called")
        if not isinstance(call.get("id"), str):
            raise Wrong("a call has no id")
        _check_arguments(name, arguments)
    function = calls[0]["function"]
    return f"{function['name']} {function['arguments']}"


def _check_arguments(name: Any, arguments: Any) -> None:
    try:
        value: Any = msgspec.json.decode(arguments) if isinstance(arguments, str) else None
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise Wrong(f"the arguments are no JSON object in a text: {arguments!r}")
    city: Any = cast("dict[str, Any]", value).get("city")
    if not isinstance(city, str) or (name == "get_weather" and city not in CITIES):
        raise Wrong(f"the arguments break their schema: {arguments}")

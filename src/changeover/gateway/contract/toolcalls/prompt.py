"""Tools for models that have no format for calls: described in the prompt, their calls and results told in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.gateway.contract.roles import with_system
from changeover.gateway.contract.toolcalls.forced import function_of, is_forced, shape_of_call
from changeover.gateway.contract.toolcalls.tools import functions, wanted

Message = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")
_HOW = (
    "You can call these tools. To call one, answer with nothing but a JSON object of the form "
    '{"name": "the tool", "arguments": {"its": "arguments"}}; for several calls, one such object on each line. '
    "The results follow in the next message. Where no tool is needed, answer in plain words."
)
_MUST = "Call a tool now."


def with_prompted_tools(body: dict[str, Any], *, grammar: bool) -> dict[str, Any]:
    """The body with its tools, and the calls in its history, in the messages' text; the same object if it has none.

    Args:
        body: A chat request.
        grammar: Whether the engine can hold an answer to a schema; then a call that must be made is enforced.
    """
    messages: Sequence[Message] = body["messages"]
    told = [_told(message, messages) for message in messages]
    offered = list(functions(body)) if wanted(body) else []
    if all(new is old for new, old in zip(told, messages, strict=True)) and not any(key in body for key in _FIELDS):
        return body
    changed = {key: value for key, value in body.items() if key not in _FIELDS}
    changed["messages"] = told
    if offered:
        forced = is_forced(body)
        lines = [
            _HOW,
            *(_encode(_described(declared)).decode() for _, declared in offered),
            *([_MUST] if forced else []),
        ]
        changed["messages"] = with_system(told, "\n".join(lines))
        if forced and grammar and not body.get("response_format"):
            changed["response_format"] = shape_of_call(body)
    return changed


def _told(message: Message, messages: Sequence[Message]) -> Message:
    """A call, or its result, in words; other messages as they are."""
    if message.get("role") == "tool":
        name = _name_of(message.get("tool_call_id"), messages)
        return {"role": "user", "content": f"Result of `{name}`:\n{_words(message.get('content'))}"}
    calls = message.get("tool_calls")
    if message.get("role") != "assistant" or not isinstance(calls, list):
        return message
    said = [_words(message.get("content")), *(_call(each) for each in cast("list[Any]", calls))]
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**kept, "content": "\n".join(each for each in said if each)}


def _call(call: Any) -> str:
    function = function_of(call)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) and arguments else _encode(arguments or {}).decode()
    return f'{{"name": {_encode(function.get("name")).decode()}, "arguments": {text}}}'


def _name_of(id: Any, messages: Sequence[Message]) -> str:
    for message in messages:
        calls = message.get("tool_calls")
        for call in cast("list[Any]", calls) if isinstance(calls, list) else []:
            if isinstance(call, dict) and cast("dict[str, Any]", call).get("id") == id:
                return str(function_of(call).get("name"))
    return str(id)


def _words(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return _encode(content).decode()


def _described(declared: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: declared[key] for key in ("name", "description", "parameters") if declared.get(key)}

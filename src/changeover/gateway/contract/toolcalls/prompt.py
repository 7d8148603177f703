"""Tools for models that have no format for calls: described in the prompt, their calls and results told in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from changeover.gateway.contract.roles import with_system
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
        choice = body.get("tool_choice")
        named = _named(choice)
        forced = choice == "required" or named is not None
        lines = [
            _HOW,
            *(_encode(_described(declared)).decode() for _, declared in offered),
            *([_MUST] if forced else []),
        ]
        changed["messages"] = with_system(told, "\n".join(lines))
        if forced and grammar and not body.get("response_format"):
            allowed = [each for each in offered if named in (None, each[0])]
            changed["response_format"] = _one_call(allowed or offered)
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
    function = _function(call)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) and arguments else _encode(arguments or {}).decode()
    return f'{{"name": {_encode(function.get("name")).decode()}, "arguments": {text}}}'


def _function(call: Any) -> Mapping[str, Any]:
    found: Any = cast("dict[str, Any]", call).get("function") if isinstance(call, dict) else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _name_of(id: Any, messages: Sequence[Message]) -> str:
    for message in messages:
        calls = message.get("tool_calls")
        for call in cast("list[Any]", calls) if isinstance(calls, list) else []:
            if isinstance(call, dict) and cast("dict[str, Any]", call).get("id") == id:
                return str(_function(call).get("name"))
    return str(id)


def _words(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return _encode(content).decode()


def _described(declared: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: declared[key] for key in ("name", "description", "parameters") if declared.get(key)}


def _named(choice: Any) -> str | None:
    name = _function(choice).get("name")
    return name if isinstance(name, str) else None


def _one_call(offered: Sequence[tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": declared.get("parameters") or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, declared in offered
    ]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": schema}}

"""Calls of tools in an answer: those that the API reported, and those that a small model wrote as text."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue

from changeover.evals.answers import Answer

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_TAGGED = re.compile(
    r"<(tool_call|function_call|tools?)>(.*?)(?:</\1>|\Z)"  # Hermes, Qwen; a missing end is a small model's habit
    r"|<function=([\w.-]+)>(.*?)</function>"  # Llama 3.1
    r"|(?:<\|python_tag\|>|\[TOOL_CALLS\]|<\|tool_call\|>)(.*?)(?:<\|[^|]*\|>|\Z)",  # Llama 3.x, Mistral, Phi
    re.DOTALL,
)
_FENCED = re.compile(r"```[ \t]*[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_OBJECT = re.compile(r"\[\s*\{|\{\s*\"")
_NAMES = ("name", "tool", "tool_name", "function_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_LONGEST_CODE = 20_000
"""Characters. Python's parser slows down with length, and no call of a tool is that long."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call, its arguments read."""

    name: str
    arguments: dict[str, JsonValue] | None
    """None: what the model wrote is no JSON object."""


def calls_of(answer: Answer) -> list[Call]:
    """Calls that the API reported, in their order."""
    return [Call(name=call.name, arguments=_arguments(call.arguments)) for call in answer.tool_calls]


def calls_in_text(text: str, tools: Container[str]) -> list[Call]:
    """Calls that a model wrote instead of making them, in their order.

    Looked for in tags made for calls, else in fenced blocks, else in the whole text; the first place that holds any
    counts. JSON counts with a name and arguments; Python, and JSON such as `{"tool": {…}}`, where the name is a tool's.

    Args:
        text: The answer.
        tools: Names of the tools, with `_` for `.`.
    """
    text = _THINKING.sub("", text)
    tagged: list[Call] = []
    for match in _TAGGED.finditer(text):
        if match.group(3) is not None:
            tagged.append(Call(name=match.group(3), arguments=_arguments(match.group(4).strip() or "{}")))
        else:
            tagged += _calls(match.group(2) or match.group(5) or "", tools)
    if tagged:
        return tagged
    fenced = [call for match in _FENCED.finditer(text) for call in _calls(match.group(1), tools)]
    return fenced or _calls(text, tools)


def _calls(text: str, tools: Container[str]) -> list[Call]:
    return list(_in_json(text, tools)) or list(_in_python(text, tools))


def _in_json(text: str, tools: Container[str]) -> Iterator[Call]:
    """Calls in every JSON value of a text, whatever stands between them."""
    decoder = json.JSONDecoder()
    position = 0
    while (start := _OBJECT.search(text, position)) is not None:
        try:
            value, position = decoder.raw_decode(text, start.start())
        except RecursionError:
            return  # nested too deeply for a call; to try every bracket of it would take seconds
        except ValueError:
            position = start.start() + 1
            continue
        yield from _in_value(value, tools)


def _in_value(value: Any, tools: Container[str]) -> Iterator[Call]:
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _in_value(item, tools)
    elif isinstance(value, dict):
        yield from _in_object(cast("dict[str, Any]", value), tools)


def _in_object(value: dict[str, Any], tools: Container[str]) -> Iterator[Call]:
    inner = value.get("function")
    if isinstance(inner, dict):
        yield from _in_object(cast("dict[str, Any]", inner), tools)
        return
    if isinstance(calls := value.get("tool_calls"), list):
        yield from _in_value(calls, tools)
        return
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    key = next((key for key in _ARGUMENTS if key in value), None)
    if name is not None and key is not None:
        yield Call(name=name, arguments=_arguments(value[key]))
        return
    for key, arguments in value.items():
        if key.replace(".", "_") in tools and isinstance(arguments, dict):
            yield Call(name=key, arguments=cast("dict[str, JsonValue]", arguments))


def _arguments(value: Any) -> dict[str, JsonValue] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if value is None:  # some servers write `null` where a tool takes nothing
        return {}
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else None


def _in_python(text: str, tools: Container[str]) -> list[Call]:
    """Calls in a text that is Python as a whole, else in its lines."""
    for parts in ([text], text.splitlines()):
        calls = [call for part in parts for call in _in_expression(part.strip().strip("`"), tools)]
        if calls:
            return calls
    return []


def _in_expression(code: str, tools: Container[str]) -> Iterator[Call]:
    if "(" not in code or len(code) > _LONGEST_CODE:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for a backslash that escapes nothing
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for statement in body:
        value = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
        for node in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
            if isinstance(node, ast.Call):
                yield from _in_call(node, tools)


def _in_call(node: ast.Call, tools: Container[str]) -> Iterator[Call]:
    name = ast.unparse(node.func)
    if name.replace(".", "_") not in tools:
        if name == "print":
            for inner in node.args:
                if isinstance(inner, ast.Call):
                    yield from _in_call(inner, tools)
        return
    # A positional argument gets its number as its name, which no tool's parameter has.
    arguments = {str(position): _literal(item) for position, item in enumerate(node.args)}
    arguments |= {keyword.arg or "**": _literal(keyword.value) for keyword in node.keywords}
    yield Call(name=name, arguments=arguments)


def _literal(node: ast.expr) -> JsonValue:
    """The value of a literal; of anything else, such as a variable, its source."""
    try:
        return _as_json(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ast.unparse(node)


def _as_json(value: Any) -> JsonValue:
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in cast("dict[Any, Any]", value).items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError("no JSON")

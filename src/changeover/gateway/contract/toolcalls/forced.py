"""Calls that must be made: where an engine does not see to that itself, a schema holds the answer to one.

llama.cpp lets a model write whatever it likes before a call, `required` or not; vLLM begins a call and does not hold its
arguments to the tool's schema. Both take a schema for the whole answer, beside tools that the model still sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from changeover.core.errors import RequestError
from changeover.gateway.contract.toolcalls.tools import functions
from changeover.serving.profiles import NO_GRAMMAR, Profile


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether a call must be made: of any tool, or of one that is named."""
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or _named(choice) is not None)


def held_by_schema(profile: Profile, body: Mapping[str, Any]) -> bool:
    """Whether a call is to be forced by a schema, so that the answer's text is one."""
    can = profile.structured not in NO_GRAMMAR
    return profile.forced_calls == "schema" and can and is_forced(body) and not body.get("response_format")


def with_forced_call(profile: Profile, body: dict[str, Any]) -> dict[str, Any]:
    """The body with a schema for the call that must be made; the same object where that is the engine's business.

    Raises:
        RequestError: The tool that is named is none of those that are offered.
    """
    if not held_by_schema(profile, body):
        return body
    kept = {key: value for key, value in body.items() if key != "parallel_tool_calls"}
    # The tools stay in the prompt; `none` keeps the engine's own parser of calls away from the schema's JSON.
    return {**kept, "tool_choice": "none", "response_format": shape_of_call(body)}


def shape_of_call(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `response_format` of one call that a request allows: JSON with its name and arguments.

    Raises:
        RequestError: The tool that is named is none of those that are offered.
    """
    offered = list(functions(body))
    named = _named(body.get("tool_choice"))
    allowed = [each for each in offered if named in (None, each[0])]
    if named is not None and not allowed:
        known = ", ".join(f"`{name}`" for name, _ in offered)
        raise RequestError(f"`tool_choice` names `{named}`, which is none of the tools: {known}.")
    calls = [_call(name, declared) for name, declared in allowed]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": schema}}


def function_of(value: Any) -> Mapping[str, Any]:
    """The `function` of a tool, a call or a choice; empty if it has none."""
    found: Any = cast("dict[str, Any]", value).get("function") if isinstance(value, dict) else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _named(choice: Any) -> str | None:
    name = function_of(choice).get("name")
    return name if isinstance(name, str) else None


def _call(name: str, declared: Mapping[str, Any]) -> Mapping[str, Any]:
    properties: dict[str, Any] = {
        "name": {"const": name},
        "arguments": declared.get("parameters") or {"type": "object"},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list[str](properties),
        "additionalProperties": False,
    }

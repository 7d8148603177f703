"""Where the JSON Schema of an answer goes: each engine has a field of its own for it, and some have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from changeover.gateway.contract.roles import with_system
from changeover.serving.profiles import Profile

_PROMPT = "Answer with one JSON value and nothing else"


def asks_for_json(body: Mapping[str, Any]) -> bool:
    """Whether the answer must be JSON."""
    given = body.get("response_format")
    return isinstance(given, dict) and cast("dict[str, Any]", given).get("type") in ("json_schema", "json_object")


def with_shape(profile: Profile, body: dict[str, Any]) -> dict[str, Any]:
    """The body with its `response_format` as the engine takes it; the same object if that is how it stands."""
    if profile.structured == "response_format" or not asks_for_json(body):
        return body
    given: dict[str, Any] = body["response_format"]
    schema: Any = None
    if given["type"] == "json_schema":
        described = given.get("json_schema")
        schema = cast("dict[str, Any]", described).get("schema") if isinstance(described, dict) else None
    rest = {key: value for key, value in body.items() if key != "response_format"}
    if schema is not None and profile.structured == "guided_json":
        return {**rest, "guided_json": schema}
    if schema is not None and profile.structured == "structured_outputs":
        return {**rest, "structured_outputs": {"json": schema}}
    if schema is not None and profile.structured == "grammar":
        return {**rest, "response_format": {"type": "json", "value": schema}}
    if profile.structured != "none":
        rest["response_format"] = {"type": "json_object"}
        if schema is None:
            return body
    fitting = "" if schema is None else f" that fits this JSON Schema: {msgspec.json.encode(schema).decode()}"
    return {**rest, "messages": with_system(body["messages"], f"{_PROMPT}{fitting}.")}

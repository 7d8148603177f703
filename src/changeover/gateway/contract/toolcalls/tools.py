"""What a request says of its tools, as far as it helps to read calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

_encode = msgspec.json.Encoder().encode
_WORDS = {"True": True, "False": False, "None": None, "TRUE": True, "FALSE": False, "NULL": None}
_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


class Tools:
    """The tools of one request."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._schemas = {name: function.get("parameters") for name, function in functions(body)}

    def __contains__(self, name: str) -> bool:
        return name in self._schemas

    def value(self, tool: str, key: str, text: str) -> str:
        """The JSON of a value that was written as plain text, by what the tool's schema says of its key.

        Where the schema says nothing, text that is JSON is taken as such.
        """
        types = self._types(tool, key)
        if types == {"string"}:
            return quoted(text)
        found = _read(text.strip())
        if found is _UNREAD:
            return quoted(text)
        kind = _TYPES[type(found)]
        if not types or kind in types or (kind == "integer" and "number" in types):
            return _encode(found).decode()
        return quoted(text) if "string" in types else _encode(found).decode()

    def _types(self, tool: str, key: str) -> set[str]:
        schema: Any = self._schemas.get(tool)
        for step in ("properties", key):
            schema = cast("dict[str, Any]", schema).get(step) if isinstance(schema, dict) else None
        return set(_named_types(schema))


def functions(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and declaration of each function among a body's tools; what is malformed is left to the engine."""
    tools = body.get("tools")
    for tool in cast("list[Any]", tools) if isinstance(tools, list) else []:
        function: Any = cast("dict[str, Any]", tool).get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            declared = cast("dict[str, Any]", function)
            name = declared.get("name")
            if isinstance(name, str) and name:
                yield name, declared


def wanted(body: Mapping[str, Any]) -> bool:
    """Whether the model may call a tool."""
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


def quoted(text: str) -> str:
    """A text as JSON."""
    return _encode(text).decode()


_UNREAD = object()


def _read(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _UNREAD


def _named_types(schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    fields = cast("dict[str, Any]", schema)
    named = fields.get("type")
    if isinstance(named, str):
        yield named
    elif isinstance(named, list):
        yield from (each for each in cast("list[Any]", named) if isinstance(each, str))
    elif isinstance(fields.get("enum"), list) and all(
        isinstance(each, str) for each in cast("list[Any]", fields["enum"])
    ):
        yield "string"
    for word in ("anyOf", "oneOf"):
        options = fields.get(word)
        for option in cast("Sequence[Any]", options) if isinstance(options, list) else ():
            yield from _named_types(option)

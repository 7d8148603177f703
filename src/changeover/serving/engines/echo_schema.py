"""The smallest value that a JSON schema allows: what an engine's grammar would let a model without ideas say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changeover.serving.engines.echo_asked import listed, table

DEEPEST = 32
"""A schema that contains itself in a required place has no smallest value; it ends here."""
FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.org",
    "uri": "https://example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def smallest(schema: Mapping[str, Any]) -> Any:
    """A value that the schema allows. Patterns and conditions are not read."""
    return _value(schema, schema, 0)


def missing(schema: Mapping[str, Any]) -> Any:
    """A value that the schema does not allow, marked so that it is known again."""
    whole = _resolved(schema, schema)
    if whole.get("type", "object") == "object" and listed(whole.get("required")):
        return {MARK: True}
    return [MARK] if whole.get("type") != "array" else {MARK: True}


MARK = "broken, as it was told to"


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolved(schema, root)
    if depth > DEEPEST:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if listed(schema.get("enum")):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if listed(schema.get(key)):
            return _value(table(schema[key][0]), root, depth + 1)
    if listed(schema.get("allOf")):
        return _value(_merged(schema, root), root, depth + 1)
    kind = schema.get("type")
    kind = listed(kind)[0] if listed(kind) else kind
    if kind in ("integer", "number"):
        return _number(schema, kind)
    if kind == "string":
        text = FORMATS.get(str(schema.get("format")), "")
        return text.ljust(int(schema.get("minLength", 0)), "a")
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    if kind == "array":
        return _items(schema, root, depth)
    properties = table(schema.get("properties"))
    return {name: _value(table(properties.get(name)), root, depth + 1) for name in listed(schema.get("required"))}


def _number(schema: Mapping[str, Any], kind: Any) -> int | float:
    step = schema.get("multipleOf", 1)
    least = schema.get("minimum", 0)
    above = schema.get("exclusiveMinimum")
    if isinstance(above, (int, float)) and not isinstance(above, bool):
        least = max(least, above + step)
    most = min(schema.get("maximum", least), schema.get("exclusiveMaximum", least + step) - step)
    value = min(least, most)
    return int(value) if kind == "integer" else value


def _items(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> list[Any]:
    first = [_value(table(each), root, depth + 1) for each in listed(schema.get("prefixItems"))]
    more = int(schema.get("minItems", 0)) - len(first)
    return first + [_value(table(schema.get("items")), root, depth + 1) for _ in range(more)]


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref` inside the document."""
    for _ in range(DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        found: Any = root
        for part in filter(None, reference[1:].split("/")):
            found = table(found).get(part.replace("~1", "/").replace("~0", "~"))
        schema = table(found)
    return schema


def _merged(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for each in schema["allOf"]:
        part = _resolved(table(each), root)
        properties = {**table(merged.get("properties")), **table(part.get("properties"))}
        required = [*listed(merged.get("required")), *listed(part.get("required"))]
        merged = {**merged, **part, "properties": properties, "required": required}
    return merged

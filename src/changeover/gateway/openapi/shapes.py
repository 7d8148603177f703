"""What schemas of the document are made of, whatever they describe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
WHEN: Json = {"type": "string", "format": "date-time"}


def given(required: Sequence[str], properties: Json) -> Json:
    """An object that always has some of its fields, and may have others that are not described."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": True}


def whole(properties: Json, *, beside: Json | None = None) -> Json:
    """An object that always has these fields, and may have those beside them."""
    return given(list(properties), {**properties, **(beside or {})})


def told(required: Sequence[str], properties: Json) -> Json:
    """An object that has no fields but its own: what is sent to be done."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Json) -> Json:
    """What a schema describes, or nothing."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(items: Json, **more: Any) -> Json:
    """Several of one kind."""
    return {"type": "array", "items": items, **more}


def in_path(name: str, about: str) -> Json:
    """A parameter that is a part of the address."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string", "minLength": 1},
    }

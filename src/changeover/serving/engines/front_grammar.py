"""What an answer must look like: the schemas and grammars that a front takes, checked before an engine sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from changeover.serving.engines.front_fields import Fields, Wrong, typed


def wanted_grammar(fields: Fields) -> Mapping[str, Any] | None:
    """What the answer is held to: OpenAI's `response_format`, llama.cpp's `grammar`, vLLM's `structured_outputs`.

    Returns:
        One of `json_schema`, `regex` and `ebnf`, with its value; None: nothing.

    Raises:
        Wrong: It could not be compiled, as far as can be known here.
    """
    found: dict[str, Any] = {}
    form: Fields = typed(fields, "response_format", dict, {"type": "text"})
    if form.get("type") == "json_object":
        found["json_schema"] = {"type": "object"}
    elif form.get("type") == "json_schema":
        found["json_schema"] = typed(form, "json_schema", dict, {}).get("schema")
    elif form.get("type") != "text":
        raise Wrong("`response_format.type` must be `text`, `json_object` or `json_schema`.", "response_format")
    if fields.get("grammar"):
        found["ebnf"] = fields["grammar"]
    for kind, value in typed(fields, "structured_outputs", dict, {}).items():
        if kind == "choice" and isinstance(value, list):
            found["regex"] = "|".join(re.escape(str(each)) for each in cast("list[Any]", value))
        else:
            found[{"json": "json_schema", "grammar": "ebnf"}.get(kind, kind)] = value
    if not found:
        return None
    if len(found) > 1:
        raise Wrong("An answer can be held to one schema or grammar only.", "response_format")
    ((kind, value),) = found.items()
    _check_grammar(kind, value)
    return found


def _check_grammar(kind: str, value: Any) -> None:
    """One that cannot be compiled is an error of the engine's, and not of the request's, so it is found here."""
    if kind == "json_schema":
        if not isinstance(value, dict):
            raise Wrong("`response_format`: a `json_schema` must hold its `schema`, an object.", "response_format")
        try:
            Draft202012Validator.check_schema(cast("dict[str, Any]", value))
            _check_parts(cast("dict[str, Any]", value), cast("dict[str, Any]", value))
        except (SchemaError, RecursionError) as exc:
            raise Wrong(
                f"`response_format`: the schema is no JSON schema: {str(exc).splitlines()[0]}", "response_format"
            ) from exc
    elif kind == "regex":
        _check_pattern(value)
    elif kind != "ebnf" or not isinstance(value, str):
        raise Wrong(f"`structured_outputs.{kind}` is not supported.", "structured_outputs")


def _check_parts(schema: Any, whole: Mapping[str, Any]) -> None:
    """Patterns that are none, and references that lead nowhere: a schema may have them and be valid."""
    if isinstance(schema, list):
        for each in cast("list[Any]", schema):
            _check_parts(each, whole)
    elif isinstance(schema, dict):
        for key, value in cast("dict[str, Any]", schema).items():
            if key == "pattern" and isinstance(value, str):
                _check_pattern(value)
            elif key == "$ref" and isinstance(value, str):
                _check_reference(value, whole)
            _check_parts(value, whole)


def _check_pattern(pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as exc:
        raise Wrong(f"`response_format`: {str(pattern)[:80]!r} is no pattern: {exc}", "response_format") from exc


def _check_reference(reference: str, whole: Mapping[str, Any]) -> None:
    place: Any = whole
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or name not in place:
            raise Wrong(f"`response_format`: `{reference[:80]}` leads nowhere.", "response_format")
        place = cast("dict[str, Any]", place)[name]
    if not reference.startswith("#"):
        raise Wrong(f"`response_format`: `{reference[:80]}` leads outside the schema.", "response_format")

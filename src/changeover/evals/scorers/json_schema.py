"""The `json-schema` scorer: an answer is JSON of the right shape, with the right values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from pydantic import Field, JsonValue, field_validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from changeover.core.digest import canonical_json
from changeover.evals.scorers.base import CUT_OFF, Case, SampleTarget, Score, Scorer, pure
from changeover.evals.scorers.json_text import read_json
from changeover.evals.scorers.text import TextOptions

_MOST_SHOWN = 20


class JsonOptions(TextOptions):
    """What does not count as a difference between two strings, and what may stand around the JSON."""

    fenced: bool = True
    """Whether the JSON may stand in one fenced block."""


class JsonTarget(SampleTarget):
    """A JSON Schema and, if the values matter too, the ideal value."""

    json_schema: dict[str, Any] = Field(alias="schema")
    value: JsonValue = None

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        wrong = _what_is_wrong(canonical_json(schema))
        if wrong is not None:
            raise ValueError(f"no JSON Schema: {wrong}")
        return schema


@lru_cache(maxsize=1024)
def _what_is_wrong(schema: str) -> str | None:
    """Why this is no JSON Schema. Samples share schemas, and checking one takes as long as scoring an answer."""
    read = json.loads(schema)
    try:
        validator_for(read, default=Draft202012Validator).check_schema(read)
    except SchemaError as exc:
        return exc.message
    return None


class _Validator(Protocol):
    """What is used of a validator; the library declares no types."""

    def iter_errors(self, instance: Any) -> Iterator[ValidationError]: ...


def score_json(case: Case[JsonOptions, JsonTarget]) -> Score:
    """0 if the answer is not valid JSON of the schema; else 1, or the F1 of its fields where values are given.

    A field is a place in the value that holds no object or list with something in it. It is right if the ideal value
    has the same at the same place; the order of a list matters. F1 is 2 right / (fields of the answer + fields of the
    ideal value).
    """
    try:
        value = read_json(case.answer.text, fenced=case.options.fenced)
    except (ValueError, RecursionError) as exc:
        why = f"{CUT_OFF}: {exc}" if case.answer.cut_off else f"{exc}"
        return Score(value=0.0, detail={"valid": False, "reason": f"not JSON: {why}"})
    try:
        first = _first_error(case.target.json_schema, value)
    except Unresolvable as exc:
        return Score(value=0.0, error=f"The target's schema refers to what it does not hold: {exc}")
    except RecursionError:
        return Score(value=0.0, detail={"valid": False, "reason": "nested too deeply"})
    if first is not None:
        return Score(value=0.0, detail={"valid": False, "reason": first})
    if case.target.value is None:
        return Score(value=1.0, detail={"valid": True})
    return _compare(value, case.target.value, case.options)


def _first_error(schema: dict[str, Any], value: JsonValue) -> str | None:
    # An empty registry: without one the library fetches what a reference names, from files and the network.
    empty: Registry[Any] = Registry()
    kind: Any = validator_for(schema, default=Draft202012Validator)
    validator = cast("_Validator", kind(schema, registry=empty))
    error = next(iter(validator.iter_errors(value)), None)
    return None if error is None else f"{error.json_path}: {error.message}"[:300]


def _compare(value: JsonValue, ideal: JsonValue, options: JsonOptions) -> Score:
    given, wanted = dict(_fields(value)), dict(_fields(ideal))
    right = {place for place in given if place in wanted and _same(given[place], wanted[place], options)}
    wrong: list[JsonValue] = [place for place in wanted if place in given and place not in right]
    missing: list[JsonValue] = [place for place in wanted if place not in given]
    extra: list[JsonValue] = [place for place in given if place not in wanted]
    return Score(
        value=2 * len(right) / (len(given) + len(wanted)),
        detail={
            "valid": True,
            "wrong": wrong[:_MOST_SHOWN],
            "missing": missing[:_MOST_SHOWN],
            "extra": extra[:_MOST_SHOWN],
        },
    )


def _fields(value: JsonValue, place: str = "$") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{place}.{key}")
    elif isinstance(value, list) and value:
        for position, inner in enumerate(value):
            yield from _fields(inner, f"{place}[{position}]")
    else:
        yield place, value


def _same(given: JsonValue, wanted: JsonValue, options: JsonOptions) -> bool:
    if isinstance(given, str) and isinstance(wanted, str):
        return options.normalise(given) == options.normalise(wanted)
    if isinstance(given, bool) or isinstance(wanted, bool):
        return given is wanted
    return given == wanted


SCORER = Scorer(version="1", options=JsonOptions, target=JsonTarget, score=pure(score_json))

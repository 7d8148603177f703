"""Structured output: what shape the caller asked for, whether an answer has it, and how to ask once more.

The engine's grammar is the first hand where it has one; this is the second, because a grammar can be ignored, cut off or
missing. A caller never gets another shape than the one it asked for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import msgspec
import regex
from jsonschema import Draft202012Validator, exceptions, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from changeover.core.errors import RequestError

MOST_SCHEMA_BYTES = 32 << 10
PATTERN_S = 0.2
"""Longest time for one pattern of a caller's schema: some take for ever."""
MOST_S = 1.0
"""Longest time for one look at an answer: some schemas double their work with every level."""
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Expectation:
    """JSON that the caller asked for; `schema` None: any object."""

    schema: Mapping[str, Any] | None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Expectation | None:
        """What a body asks for in `response_format`, or in `text.format` of `/v1/responses`; None: nothing.

        Raises:
            RequestError: The schema is none, or too large.
        """
        wanted = fields.get("response_format")
        where = "response_format"
        if wanted is None:
            text = fields.get("text")
            wanted = cast("dict[str, Any]", text).get("format") if isinstance(text, dict) else None
            where = "text.format"
        if not isinstance(wanted, dict):
            return None
        form = cast("dict[str, Any]", wanted)
        if form.get("type") == "json_object":
            return cls(schema=None)
        if form.get("type") != "json_schema":
            return None
        inner = form.get("json_schema")
        schema = cast("dict[str, Any]", inner).get("schema") if isinstance(inner, dict) else form.get("schema")
        if not isinstance(schema, dict):
            raise RequestError(f"`{where}`: a `json_schema` must hold its `schema`, an object.")
        _check_schema(cast("dict[str, Any]", schema), where)
        return cls(schema=cast("dict[str, Any]", schema))

    def problem(self, text: str) -> str | None:
        """What is wrong with an answer, in one sentence; None if it is as asked for. May take some milliseconds."""
        try:
            value = _decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
            return f"it is not JSON ({exc})"
        if self.schema is None:
            return None if isinstance(value, dict) else "it is no JSON object"
        _clock.until = time.monotonic() + MOST_S
        try:
            worst: ValidationError | None = _best(_Validator(self.schema, registry=_NOWHERE).iter_errors(value))
        except (Unresolvable, TimeoutError, regex.error, RecursionError) as exc:
            return f"its schema cannot be applied ({type(exc).__name__})"
        if worst is None:
            return None
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in worst.absolute_path)
        return f"at `${place}`: {worst.message[:300]}"

    async def problem_of(self, text: str) -> str | None:
        """As `problem`, beside the event loop: a caller's schema may take its time, and nobody else shall wait for it."""
        return await asyncio.get_running_loop().run_in_executor(_LOOKERS, self.problem, text)


def faults(schema: Mapping[str, Any], value: Any, most: int = 50) -> list[tuple[tuple[str | int, ...], str]]:
    """Where a value is not as its schema says, and what is wrong there; empty: nowhere. May take some milliseconds."""
    _clock.until = time.monotonic() + MOST_S
    try:
        errors: list[ValidationError] = list(islice(_Validator(schema, registry=_NOWHERE).iter_errors(value), most))
    except (Unresolvable, TimeoutError, regex.error, RecursionError) as exc:
        return [((), f"its schema cannot be applied ({type(exc).__name__})")]
    return [(tuple(error.absolute_path), error.message[:300]) for error in errors]


def ask_again(body: Mapping[str, Any], text: str, problem: str) -> dict[str, Any]:
    """The body that shows a model its own answer and what is wrong with it."""
    words = (
        f"This answer cannot be used: {problem}. Answer again, with nothing but JSON of the shape that was asked for."
    )
    turns = [*body["messages"], {"role": "assistant", "content": text}, {"role": "user", "content": words}]
    return {**body, "messages": turns}


def texts_of(fields: Mapping[str, Any]) -> list[str]:
    """The texts that must have the shape, of every choice, but for tool calls, refusals and what was cut off."""
    choices = fields.get("choices")
    if isinstance(choices, list):
        found = [_text_of_choice(choice) for choice in cast("list[dict[str, Any]]", choices)]
        return [text for text in found if text is not None]
    text = _text_of_response(fields)
    return [] if text is None else [text]


def _text_of_choice(choice: Mapping[str, Any]) -> str | None:
    message = cast("dict[str, Any]", choice.get("message") or {})
    if choice.get("finish_reason") == "length" or message.get("tool_calls") or message.get("refusal"):
        return None
    return message.get("content") or ""


def _text_of_response(fields: Mapping[str, Any]) -> str | None:
    output = fields.get("output")
    if isinstance(output, list) and fields.get("status") != "incomplete":
        for item in cast("list[dict[str, Any]]", output):
            if item.get("type") == "message":
                parts = cast("list[dict[str, Any]]", item.get("content") or [])
                return "".join(str(part.get("text") or "") for part in parts)
    return None


def _check_schema(schema: dict[str, Any], where: str) -> None:
    encoded = msgspec.json.encode(schema)
    if len(encoded) > MOST_SCHEMA_BYTES:
        raise RequestError(f"`{where}`: the schema is larger than {MOST_SCHEMA_BYTES >> 10} KiB.")
    problem = _wrong_with(encoded)
    if problem is not None:
        raise RequestError(f"`{where}`: the schema is no JSON schema: {problem}.")


@lru_cache(maxsize=512)
def _wrong_with(schema: bytes) -> str | None:
    """What makes a schema none. An application sends the same few again and again."""
    try:
        Draft202012Validator.check_schema(msgspec.json.decode(schema))
    except SchemaError as exc:
        return exc.message[:300]
    except RecursionError:
        return "it is nested too deeply"
    return None


def _timed(check: Any) -> Any:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Generator[ValidationError]:
        if time.monotonic() > _clock.until:
            raise TimeoutError
        yield from check(validator, value, instance, schema) or ()

    return run


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Generator[ValidationError]:
    if isinstance(value, str) and not regex.search(pattern, value, timeout=PATTERN_S):
        yield ValidationError(f"{value[:80]!r} does not match {pattern[:80]!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, _schema: Any) -> Generator[ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, inner in patterns.items():
        for name, member in cast("dict[str, Any]", value).items():
            if regex.search(pattern, name, timeout=PATTERN_S):
                yield from validator.descend(member, inner, path=name, schema_path=pattern)


_NOWHERE: Registry[Any] = Registry()
"""References lead inside the schema only: nothing is fetched."""
_LOOKERS = ThreadPoolExecutor(2, thread_name_prefix="structured")
"""Not the threads that follow routes and write records."""
_clock = threading.local()
_untyped: Any = validators
_checks: dict[str, Any] = {
    **cast("Any", Draft202012Validator).VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
}
_Validator: Any = _untyped.extend(Draft202012Validator, {name: _timed(check) for name, check in _checks.items()})
_best: Any = cast("Any", exceptions).best_match

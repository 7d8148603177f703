"""The `tool-calls` scorer: the answer calls the right tools with the right arguments, or calls none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import Field, JsonValue

from changeover.core.errors import nearest
from changeover.core.toml import Declared
from changeover.evals.datasets import Sample
from changeover.evals.scorers.base import Case, SampleTarget, Score, Scorer, pure
from changeover.evals.scorers.tool_calls_reading import Call, calls_in_text, calls_of

_FILLING = re.compile(r"[ ,./\-_*^]")
"""What does not count in a string: `April 1, 2024` is `April 1 2024`."""
_KINDS: Mapping[str, str] = {
    "string": "string", "integer": "integer", "number": "number", "float": "number", "boolean": "boolean",
    "array": "array", "tuple": "array", "object": "object", "dict": "object", "null": "null",
}  # fmt: skip
"""Names of types in tool schemas, JSON Schema's and the benchmark's own, as JSON's."""


class ToolCallsOptions(Declared):
    """What a call may look like, and whether some of several right ones earn something."""

    partial: bool = False
    """Score the F1 of the right calls instead of all or nothing: 2 right / (calls made + calls expected)."""
    from_text: bool = True
    """Read calls that the model wrote as text, where it made none: JSON with `name` and `arguments`, bare, fenced or in
    `<tool_call>`; `tool(a=1)`."""


class ExpectedCall(SampleTarget):
    """One call that the answer must make."""

    name: str
    """The tool's. `.` and `_` count as the same."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """For each parameter a list of the values that are right, or the only one; a list itself stands in a list:
    `[["a", "b"]]`. `""` among them: it may be left out. The same holds for each key of an object."""


class ToolCallsTarget(SampleTarget):
    """The calls that are right; none: no tool may be called."""

    calls: list[ExpectedCall]
    order: Literal["any", "given"] = "any"


def score_tool_calls(case: Case[ToolCallsOptions, ToolCallsTarget]) -> Score:
    """1 if the answer makes exactly the expected calls, each with right arguments, else 0 with the first reason.

    A call is right if it names the tool, gives every required parameter and every other whose values do not hold `""`,
    gives none that the tool's schema or the target lacks, and each value has the schema's type and is one of the
    accepted ones. A whole number may stand for a fraction, not the other way round; in strings, case, spaces and
    `,./-_*^` do not count; lists compare element by element. Where an accepted value's type is not the schema's, such
    as a variable's name in place of a list, the value must be the same to the letter.

    Source: the rules of the Berkeley Function-Calling Leaderboard for answers in Python, with these differences: types
    inside lists and objects are as lenient as outside, calls in any order are matched in the best way there is, and a
    parameter whose schema says `any` or nothing may have any type. What a call would do is not looked at: an argument
    that means the same in other words is wrong unless the target accepts it, and prose around a call does not count.
    """
    tools = _schemas(case.sample.tools)
    made, source = calls_of(case.answer), "api"
    if not made and case.options.from_text:
        made, source = calls_in_text(case.answer.text, tools), "text"
    wrong = [[_wrong(call, expected, tools) for call in made] for expected in case.target.calls]
    pairs = _in_order(wrong) if case.target.order == "given" else _matched(wrong)
    total = len(made) + len(case.target.calls)
    if len(pairs) * 2 == total:
        return Score(value=1.0, detail={"calls": len(made), "read_from": source} if made else {"calls": 0})
    detail: dict[str, JsonValue] = {
        "reason": _reason(case.target.calls, made, wrong, pairs),
        "calls": len(made),
        "right": len(pairs),
    }
    if made:
        detail["read_from"] = source
    return Score(value=2 * len(pairs) / total if case.options.partial else 0.0, detail=detail)


def check_names(sample: Sample, target: ToolCallsTarget, options: ToolCallsOptions, prepared: object) -> None:
    """Refuse a target that calls a tool which the sample does not offer.

    Raises:
        ValueError: It does; names the nearest.
    """
    del options, prepared
    tools = _schemas(sample.tools)
    for expected in target.calls:
        if tools and _plain_name(expected.name) not in tools:
            raise ValueError(
                f"`{expected.name}` is none of the sample's tools. {nearest(expected.name, tools).rstrip('.')}"
            )


def _schemas(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Schema of each tool's parameters, by its name with `_` for `.`; also of tools without OpenAI's envelope."""
    known: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function: Mapping[str, Any] = tool.get("function", tool)
        known[_plain_name(str(function.get("name", "")))] = function.get("parameters") or {}
    return known


def _plain_name(name: str) -> str:
    return name.replace(".", "_")


def _wrong(call: Call, expected: ExpectedCall, tools: Mapping[str, Mapping[str, Any]]) -> str | None:
    """First thing that is wrong with a call; None if it is right."""
    name = _plain_name(expected.name)
    if _plain_name(call.name) != name:
        return f"`{call.name}` is another tool"
    if call.arguments is None:
        return f"the arguments of `{call.name}` are no JSON object"
    schema = tools.get(name, {})
    for required in schema.get("required", ()):
        if required not in call.arguments:
            return f"`{expected.name}.{required}` is required and missing"
    properties = schema.get("properties", {})
    for given in call.arguments if name in tools else ():
        if given not in properties:
            return f"`{expected.name}.{given}` is not expected"
    return _wrong_fields(call.arguments, expected.arguments, properties, f"{expected.name}.")


def _wrong_fields(
    given: Mapping[str, JsonValue], accepted: Mapping[str, JsonValue], properties: Mapping[str, Any], place: str
) -> str | None:
    """First thing that is wrong with the parameters of a call, or with the keys of an object; None: all is right.

    Args:
        given: What the model wrote.
        accepted: What is right, for each name.
        properties: Schema of each name, as far as there is one.
        place: What the names stand in, for the message.
    """
    for name, value in given.items():
        if name not in accepted:
            return f"`{place}{name}` is not expected"
        found = _wrong_value(value, _alternatives(accepted[name]), properties.get(name), place + name)
        if found is not None:
            return found
    for name, values in accepted.items():
        if name not in given and "" not in _alternatives(values):
            return f"`{place}{name}` is missing"
    return None


def _alternatives(accepted: JsonValue) -> list[JsonValue]:
    return accepted if isinstance(accepted, list) else [accepted]


def _wrong_value(value: JsonValue, accepted: list[JsonValue], schema: Any, place: str) -> str | None:
    kinds = _kinds(schema)
    examples = [item for item in accepted if item != ""]
    foreign = bool(kinds and examples) and not any(_fits(_kind(item), kinds) for item in examples)
    if kinds and not _fits(_kind(value), kinds) and not (foreign and _kind(value) == _kind(examples[0])):
        return f"`{place}` is {_shown(value)}, not of the type {' or '.join(sorted(kinds))}"
    if foreign:
        right = any(_kind(value) == _kind(item) and value == item for item in accepted)
    else:
        right = any(_same(value, item, schema) for item in accepted)
    if right:
        return None
    if len(accepted) == 1 and isinstance(value, dict) and isinstance(accepted[0], dict):
        inner = _wrong_fields(value, accepted[0], _properties(schema), f"{place}.")
        return inner or f"`{place}` is {_shown(value)}"
    return f"`{place}` is {_shown(value)}, expected {' or '.join(_shown(item) for item in accepted[:5]) or 'nothing'}"


def _same(value: JsonValue, accepted: JsonValue, schema: Any) -> bool:
    if isinstance(value, str) and isinstance(accepted, str):
        return _plain_text(value) == _plain_text(accepted)
    if isinstance(value, list) and isinstance(accepted, list):
        items: Any = cast("Mapping[str, Any]", schema).get("items") if isinstance(schema, Mapping) else None
        kinds = _kinds(items)
        return len(value) == len(accepted) and all(
            _same(one, other, items) and (not kinds or _fits(_kind(one), kinds) or not _fits(_kind(other), kinds))
            for one, other in zip(value, accepted, strict=True)
        )
    if isinstance(value, dict) and isinstance(accepted, dict):
        return _wrong_fields(value, accepted, _properties(schema), "") is None
    if isinstance(value, bool) or isinstance(accepted, bool):
        return value is accepted
    return value == accepted


def _properties(schema: Any) -> Mapping[str, Any]:
    """Schemas of the keys of an object."""
    return cast("Mapping[str, Any]", schema).get("properties") or {} if isinstance(schema, Mapping) else {}


def _plain_text(text: str) -> str:
    return _FILLING.sub("", text).lower().replace("'", '"')


def _kinds(schema: Any) -> set[str]:
    """JSON types that a schema allows; empty: any."""
    if not isinstance(schema, Mapping):
        return set()
    named = cast("Mapping[str, Any]", schema).get("type")
    names = cast("list[Any]", named) if isinstance(named, list) else [named]
    kinds = {_KINDS.get(str(name), "") for name in names}
    return set() if "" in kinds else kinds


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(kind: str, kinds: set[str]) -> bool:
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _shown(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _matched(wrong: list[list[str | None]]) -> dict[int, int]:
    """Most expected calls that can each have a call of its own: call by expected call (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(expected: int, tried: set[int]) -> bool:
        for call, reason in enumerate(wrong[expected]):
            if reason is None and call not in tried:
                tried.add(call)
                if call not in taken or place(taken[call], tried):
                    taken[call] = expected
                    return True
        return False

    for expected in range(len(wrong)):
        place(expected, set())
    return {expected: call for call, expected in taken.items()}


def _in_order(wrong: list[list[str | None]]) -> dict[int, int]:
    """Most expected calls with a call of their own in the same order (longest common subsequence)."""
    above: list[dict[int, int]] = [{} for _ in range(len(wrong[0]) + 1)] if wrong else [{}]
    for expected, reasons in enumerate(wrong):
        row: list[dict[int, int]] = [{}]
        for call, reason in enumerate(reasons):
            paired = {**above[call], expected: call} if reason is None else {}
            row.append(max(above[call + 1], row[call], paired, key=len))
        above = row
    return above[-1]


def _reason(
    expected: Sequence[ExpectedCall], made: Sequence[Call], wrong: list[list[str | None]], pairs: Mapping[int, int]
) -> str:
    """Why the answer is not wholly right: of the first expected call without a match, or of the first call too many."""
    free = [call for call in range(len(made)) if call not in pairs.values()]
    for position, call in enumerate(expected):
        if position in pairs:
            continue
        for other in free:
            if _plain_name(made[other].name) == _plain_name(call.name):
                return wrong[position][other] or f"`{call.name}` is called out of order"
        if free:
            return f"`{made[free[0]].name}` is called instead of `{call.name}`"
        return f"`{call.name}` is not called"
    return f"`{made[free[0]].name}` is called, which is not expected"


SCORER = Scorer(
    version="1",
    options=ToolCallsOptions,
    target=ToolCallsTarget,
    score=pure(score_tool_calls),
    check=check_names,
)

import json
from typing import Any

import pytest

from changeover.core.errors import RequestError
from changeover.gateway.contract.structured import Expectation, ask_again, texts_of

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["a", "b"]}, "n": {"type": "integer"}},
    "required": ["label"],
    "additionalProperties": False,
}


def expects(schema: Any) -> Expectation:
    found = Expectation.of({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"label": "a"}', None),
        ('{"label": "a", "n": 3}', None),
        ('{"label": "c"}', "$.label"),
        ('{"n": 3}', "required"),
        ('{"label": "a", "n": "3"}', "$.n"),
        ("Sure! {}", "not JSON"),
        ("", "not JSON"),
        ("[]", "object"),
    ],
)
def test_an_answer_has_the_shape_or_it_is_said_why_not(text: str, said: str | None) -> None:
    problem = expects(SCHEMA).problem(text)
    assert (problem is None) if said is None else (problem is not None and said in problem)


def test_any_object_is_enough_where_only_json_was_asked_for() -> None:
    found = Expectation.of({"response_format": {"type": "json_object"}})
    assert found is not None
    assert found.problem("{}") is None
    assert found.problem("[1]") == "it is no JSON object"


def test_the_responses_endpoint_asks_in_its_own_place() -> None:
    found = Expectation.of({"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}})
    assert found is not None
    assert found.problem('{"label": "z"}')


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "text"}}, {"response_format": None}, {"text": {}}])
def test_nothing_is_expected_where_nothing_was_asked_for(fields: dict[str, Any]) -> None:
    assert Expectation.of(fields) is None


@pytest.mark.parametrize(
    "schema", [None, "x", {"type": "nonsense"}, {"type": "object", "properties": 3}, {"enum": ["x" * 40_000]}]
)
def test_a_schema_that_is_none_is_the_callers_mistake(schema: Any) -> None:
    with pytest.raises(RequestError, match="response_format"):
        expects(schema)


def test_a_schema_that_points_elsewhere_is_never_fetched() -> None:
    problem = expects({"$ref": "http://127.0.0.1:9/schema.json"}).problem("{}")
    assert problem is not None
    assert "cannot be applied" in problem


def test_a_pattern_without_end_is_given_up() -> None:
    slow = expects({"type": "string", "pattern": "^(a|a)*$"})
    problem = slow.problem(json.dumps("a" * 40 + "b"))
    assert problem is not None


def test_patterns_of_properties_hold() -> None:
    schema = {"type": "object", "patternProperties": {"^n_": {"type": "integer"}}}
    assert expects(schema).problem('{"n_a": 1, "b": "x"}') is None
    assert expects(schema).problem('{"n_a": "x"}') is not None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}, "x"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, ""),
        ({"choices": [{"message": {"content": '{"a'}, "finish_reason": "length"}]}, None),
        ({"choices": [{"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}]}, None),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "y"}]}]}, "y"),
        ({"output": [{"type": "function_call"}]}, None),
        ({"output": [{"type": "message", "content": []}], "status": "incomplete"}, None),
    ],
)
def test_tool_calls_and_answers_that_were_cut_off_have_no_shape_to_look_at(
    fields: dict[str, Any], text: str | None
) -> None:
    assert texts_of(fields) == ([] if text is None else [text])


def test_a_model_is_shown_its_answer_and_what_is_wrong_with_it() -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    again = ask_again(body, "oops", "it is not JSON")
    assert again["messages"][:2] == [*body["messages"], {"role": "assistant", "content": "oops"}]
    assert "it is not JSON" in again["messages"][2]["content"]
    assert again["max_tokens"] == 5
    assert len(body["messages"]) == 1


def test_a_schema_that_doubles_its_work_with_every_level_is_given_up() -> None:
    deep: dict[str, Any] = {"$defs": {"d0": {"type": "object"}}, "$ref": "#/$defs/d30"}
    for level in range(1, 31):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        deep["$defs"][f"d{level}"] = {"allOf": [below, below]}
    problem = expects(deep).problem("{}")
    assert problem is not None
    assert "TimeoutError" in problem


def test_every_choice_has_to_have_the_shape() -> None:
    def choice(text: str) -> dict[str, Any]:
        return {"message": {"content": text}, "finish_reason": "stop"}

    assert texts_of({"choices": [choice("a"), choice("b")]}) == ["a", "b"]

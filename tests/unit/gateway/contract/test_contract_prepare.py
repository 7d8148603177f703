from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from tests.unit.gateway.contract.reading import WEATHER

from changeover.core.errors import RequestError
from changeover.gateway.contract import prepare
from changeover.serving.profiles import PLAIN, Profile

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
SHAPED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
USER = {"role": "user", "content": "Hi."}


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages or (USER,)), **fields}


def sent(profile: Profile, body: dict[str, Any]) -> dict[str, Any]:
    """What is sent, having made sure that what was asked is not changed."""
    before = copy.deepcopy(body)
    found = prepare(profile, "chat", body)
    assert body == before
    return found


def test_a_plain_request_to_a_plain_engine_is_the_same_object() -> None:
    body = chat(
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "<b>Hello.</b>", "tool_calls": []},
        {"role": "system", "content": "Still."},
        USER,
        reasoning_effort="low",
        tools=[WEATHER],
        response_format=SHAPED,
    )

    assert prepare(Profile(), "chat", body) is body


@pytest.mark.parametrize("endpoint", ["completions", "embeddings", "responses", "messages"])
def test_other_endpoints_keep_their_own_shapes(endpoint: Any) -> None:
    body = {"messages": [{"role": "system", "content": "x"}], "reasoning_effort": "low", "store": True}

    assert prepare(Profile(system_role="no", effort="none"), endpoint, body) is body
    assert "store" not in prepare(Profile(dropped=("store",)), endpoint, body)


THOUGHTFUL = (
    USER,
    {"role": "assistant", "content": "One.", "reasoning_content": "a"},
    USER,
    {"role": "assistant", "content": "", "reasoning_content": "b", "tool_calls": [{"id": "1"}]},
    {"role": "tool", "tool_call_id": "1", "content": "x"},
    {"role": "assistant", "content": "", "reasoning": "c", "tool_calls": [{"id": "2"}]},
    {"role": "tool", "tool_call_id": "2", "content": "y"},
)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("strip", [None, None, None]), ("keep", ["a", "b", "c"]), ("keep_between_tool_calls", [None, "b", "c"])],
)
def test_the_history_shows_as_much_reasoning_as_the_family_wants(rule: Any, kept: list[str | None]) -> None:
    found = sent(Profile(reasoning="field", reasoning_history=rule), chat(*THOUGHTFUL))["messages"]

    assert [each.get("reasoning_content") for each in found if each["role"] == "assistant"] == kept
    assert all("reasoning" not in each for each in found)


def test_between_tool_calls_is_over_with_the_users_next_words() -> None:
    profile = Profile(reasoning="field", reasoning_history="keep_between_tool_calls")

    found = sent(profile, chat(*THOUGHTFUL, USER))["messages"]

    assert not any("reasoning_content" in each or "reasoning" in each for each in found)


def test_kept_reasoning_goes_under_the_name_that_the_engine_takes() -> None:
    profile = Profile(reasoning="field", reasoning_history="keep", reasoning_field="reasoning")

    found = sent(profile, chat(*THOUGHTFUL))["messages"]

    assert [each.get("reasoning") for each in found if each["role"] == "assistant"] == ["a", "b", "c"]
    assert not any("reasoning_content" in each for each in found)


@pytest.mark.parametrize(
    ("reasoning", "content", "left"),
    [
        ("none", "<think>a</think>\n\nOne.", "One."),
        ("think", " <think>\na\n</think>One. </think>", "One. </think>"),
        ("think", "Write <think>a</think>.", "Write <think>a</think>."),
        ("think", "a</think>One.", "a</think>One."),
        ("think_open", "a</think>One.", "One."),
        ("think_open", "See <think>a</think>.", "See <think>a</think>."),
    ],
)
def test_a_thought_inside_an_earlier_answer_is_taken_out(reasoning: Any, content: str, left: str) -> None:
    body = chat(USER, {"role": "assistant", "content": content}, USER)

    assert sent(Profile(reasoning=reasoning), body)["messages"][1]["content"] == left


@pytest.mark.parametrize(
    ("effort", "asked", "found"),
    [
        ("none", "high", {}),
        ("field", "high", {"reasoning_effort": "high"}),
        ("enable_thinking", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("enable_thinking", "minimal", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("enable_thinking", "low", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("thinking", "high", {"chat_template_kwargs": {"thinking": True}}),
        ("thinking", "none", {"chat_template_kwargs": {"thinking": False}}),
        ("top_level_enable_thinking", "medium", {"enable_thinking": True}),
        ("thinking_budget", "low", {"enable_thinking": True, "thinking_budget": 1024}),
        ("thinking_budget", "high", {"enable_thinking": True}),
        ("thinking_budget", "none", {"enable_thinking": False}),
        ("enable_thinking", "unheard of", {}),
    ],
)
def test_one_effort_becomes_the_familys_own_toggle(effort: Any, asked: str, found: dict[str, Any]) -> None:
    assert sent(Profile(effort=effort), chat(reasoning_effort=asked)) == {**chat(), **found}


@pytest.mark.parametrize(
    ("asked", "found"), [("none", "low"), ("minimal", "low"), ("medium", "medium"), ("xhigh", "high")]
)
def test_an_effort_that_the_engine_does_not_know_becomes_the_nearest(asked: str, found: str) -> None:
    profile = Profile(effort_values=("low", "medium", "high"))

    assert sent(profile, chat(reasoning_effort=asked))["reasoning_effort"] == found


def test_a_toggle_that_the_caller_set_himself_stays() -> None:
    body = chat(reasoning_effort="high", chat_template_kwargs={"enable_thinking": False, "other": 1})

    found = sent(Profile(effort="enable_thinking"), body)

    assert found["chat_template_kwargs"] == {"enable_thinking": False, "other": 1}


def test_a_developer_is_a_system() -> None:
    found = sent(Profile(), chat({"role": "developer", "content": "Be brief."}, USER))

    assert found["messages"] == [{"role": "system", "content": "Be brief."}, USER]


def test_system_messages_go_before_the_users_first_words_where_there_is_no_such_role() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "Hi."}]}
    one, two = (
        {"role": "system", "content": "One."},
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
    )
    profile = Profile(system_role="no")

    assert sent(profile, chat(one, USER, two))["messages"] == [{"role": "user", "content": "One.\n\nTwo.\n\nHi."}]
    assert sent(profile, chat(one, parts))["messages"][0]["content"][0] == {"type": "text", "text": "One."}
    assert sent(profile, chat(one))["messages"] == [{"role": "user", "content": "One."}]


def test_system_messages_are_joined_where_there_is_place_for_one() -> None:
    one, two = {"role": "system", "content": "One."}, {"role": "system", "content": "Two."}
    profile = Profile(system_role="one")

    assert sent(profile, chat(one, USER, two))["messages"] == [{"role": "system", "content": "One.\n\nTwo."}, USER]
    body = chat(one, USER)
    assert prepare(profile, "chat", body) is body


@pytest.mark.parametrize(
    ("structured", "found"),
    [
        ("response_format", {"response_format": SHAPED}),
        ("guided_json", {"guided_json": SCHEMA}),
        ("structured_outputs", {"structured_outputs": {"json": SCHEMA}}),
        ("grammar", {"response_format": {"type": "json", "value": SCHEMA}}),
    ],
)
def test_the_schema_goes_where_the_engine_takes_it(structured: Any, found: dict[str, Any]) -> None:
    assert sent(Profile(structured=structured), chat(response_format=SHAPED)) == {**chat(), **found}


@pytest.mark.parametrize(("structured", "left"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_a_schema_that_the_engine_cannot_hold_stands_in_the_prompt(structured: Any, left: Any) -> None:
    found = sent(Profile(structured=structured), chat(response_format=SHAPED))

    assert found.get("response_format") == left
    assert json.dumps(SCHEMA, separators=(",", ":")) in found["messages"][0]["content"]
    assert found["messages"][1] is not None


def test_fields_that_the_engine_would_refuse_are_left_out() -> None:
    found = sent(Profile(dropped=("store", "metadata")), chat(store=False, user="u"))

    assert found == chat(user="u")


CALLED = (
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": "Rain."},
)


def test_tools_go_through_the_prompt_where_there_is_no_format_for_them() -> None:
    found = sent(
        Profile(tool_calls="none", system_role="no"),
        chat(*CALLED, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False),
    )

    assert found.keys() == {"model", "messages"}
    first, call, result = found["messages"]
    assert first["role"] == "user"
    assert '"name":"get_weather"' in first["content"]
    assert first["content"].endswith("Hi.")
    assert call == {"role": "assistant", "content": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'}
    assert result == {"role": "user", "content": "Result of `get_weather`:\nRain."}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_that_must_be_made_is_held_by_the_grammar(choice: Any) -> None:
    body = chat(tools=[WEATHER], tool_choice=choice)

    schema = sent(Profile(tool_calls="none"), body)["response_format"]["json_schema"]["schema"]

    assert schema["properties"]["name"] == {"const": "get_weather"}
    assert "response_format" not in sent(Profile(tool_calls="none", structured="none"), body)


def test_tools_that_may_not_be_called_are_not_described() -> None:
    found = sent(Profile(tool_calls="none"), chat(tools=[WEATHER], tool_choice="none"))

    assert found == chat()


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [None]},
        {"messages": [{"role": ["user"]}]},
        {"messages": [{"role": "assistant", "tool_calls": [None, {"function": 1}]}, {"role": "tool"}]},
        {"messages": [{"role": "system", "content": [None, 1]}], "tools": [None, {"function": {"name": 1}}]},
        {"messages": [{"role": "user", "content": 1}], "response_format": {"type": "json_schema"}},
        {"messages": []},
        {"messages": {}},
    ],
)
@pytest.mark.parametrize(
    "profile",
    [Profile(), Profile(tool_calls="none", system_role="no", structured="none", effort="thinking", reasoning="think")],
)
def test_what_is_malformed_is_left_to_the_engine_to_refuse(profile: Profile, body: dict[str, Any]) -> None:
    sent(profile, body)


HELD = Profile(tool_calls="native_or_bare", forced_calls="schema")
ADD: dict[str, Any] = {"type": "function", "function": {"name": "add"}}


def test_a_call_that_an_engine_does_not_force_is_held_by_a_schema_of_the_tools() -> None:
    found = sent(HELD, chat(tools=[WEATHER, ADD], tool_choice="required", parallel_tool_calls=True))

    schema = found["response_format"]["json_schema"]["schema"]
    weather, add = schema["anyOf"]
    assert weather["properties"] == {"name": {"const": "get_weather"}, "arguments": WEATHER["function"]["parameters"]}
    assert add["properties"] == {"name": {"const": "add"}, "arguments": {"type": "object"}}
    assert found["tools"] == [WEATHER, ADD]
    assert found["tool_choice"] == "none"
    assert "parallel_tool_calls" not in found


def test_a_tool_that_is_named_is_the_only_one_that_the_schema_allows() -> None:
    named = {"type": "function", "function": {"name": "add"}}

    found = sent(HELD, chat(tools=[WEATHER, ADD], tool_choice=named))

    assert found["response_format"]["json_schema"]["schema"]["properties"]["name"] == {"const": "add"}


@pytest.mark.parametrize(
    ("profile", "fields"),
    [
        (Profile(), {"tool_choice": "required"}),
        (HELD, {"tool_choice": "auto"}),
        (HELD, {}),
        (HELD, {"tool_choice": "required", "response_format": SHAPED}),
    ],
)
def test_a_call_is_left_to_the_engine_where_it_forces_it_or_nobody_asks(profile: Profile, fields: Any) -> None:
    body = chat(tools=[WEATHER], **fields)

    assert prepare(profile, "chat", body) is body


@pytest.mark.parametrize("calls", ["native_or_bare", "none"])
def test_a_tool_that_is_named_and_not_offered_is_the_callers_mistake(calls: Any) -> None:
    profile = Profile(tool_calls=calls, forced_calls="schema")
    named = {"type": "function", "function": {"name": "subtract"}}

    with pytest.raises(RequestError, match="names `subtract`, which is none of the tools: `get_weather`, `add`"):
        prepare(profile, "chat", chat(tools=[WEATHER, ADD], tool_choice=named))


def test_a_seed_has_its_prompt_computed_anew_where_a_kept_one_would_change_what_is_drawn() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "seed": 7}

    assert prepare(PLAIN["local"], "chat", body) == {**body, "cache_prompt": False}
    assert prepare(PLAIN["local"], "chat", {**body, "seed": None}) == {**body, "seed": None}
    assert prepare(PLAIN["openai"], "chat", body) is body


def test_a_grammar_goes_where_the_engine_reads_it() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "grammar": 'root ::= "a"'}

    assert prepare(PLAIN["vllm"], "chat", body) == {
        "messages": body["messages"],
        "structured_outputs": {"grammar": 'root ::= "a"'},
    }
    assert prepare(PLAIN["local"], "chat", body) is body

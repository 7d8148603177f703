"""What a front makes of OpenAI's bodies, and what it refuses before a worker hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from changeover.serving.engines import front_asked
from changeover.serving.engines.front_asked import Skills
from changeover.serving.engines.front_fields import Wrong

ALL = Skills(grammar=True, top_logprobs=True)
NONE = Skills(grammar=False, top_logprobs=False)
HELLO = [{"role": "user", "content": "Hello"}]


def asked(skills: Skills = ALL, **fields: Any) -> Any:
    return front_asked.chat({"messages": HELLO, **fields}, skills).asks[0]


def test_what_is_not_said_is_openais_default() -> None:
    ask = asked()
    assert ask["sampling"] == {
        "temperature": 1.0,
        "top_p": None,
        "top_k": None,
        "min_p": None,
        "repetition_penalty": None,
        "presence_penalty": None,
        "frequency_penalty": None,
        "seed": None,
    }
    assert (ask["choices"], ask["limit"], ask["stop"], ask["logprobs"], ask["grammar"]) == (1, None, [], None, None)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 7}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"n": 17}, "n"),
        ({"seed": "x"}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "include_usage"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"structured_outputs": {"lark": "x"}}, "structured_outputs.lark"),
        ({"grammar": "a", "response_format": {"type": "json_object"}}, "schema or grammar"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Wrong) as caught:
        asked(**fields)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "string", "pattern": "("},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.com/schema"},
        {"properties": {"a": {"items": {"pattern": "[0-9"}}}},
    ],
)
def test_a_schema_that_cannot_be_compiled_never_reaches_the_engine(schema: dict[str, Any]) -> None:
    with pytest.raises(Wrong, match="response_format"):
        asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"$ref": "#/$defs/a", "$defs": {"a": {}}}},
                }
            },
            {"json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {}}}},
        ),
        ({"structured_outputs": {"regex": "[0-9]+"}}, {"regex": "[0-9]+"}),
        ({"structured_outputs": {"choice": ["a.b", "c"]}}, {"regex": r"a\.b|c"}),
        ({"structured_outputs": {"json": {"type": "array"}}}, {"json_schema": {"type": "array"}}),
        ({"grammar": 'root ::= "a"'}, {"ebnf": 'root ::= "a"'}),
    ],
)
def test_a_shape_is_understood_in_the_words_of_several_engines(fields: dict[str, Any], grammar: Any) -> None:
    assert asked(**fields)["grammar"] == grammar


def test_an_engine_refuses_what_it_cannot_rather_than_leave_it_out() -> None:
    with pytest.raises(Wrong, match="no schema"):
        asked(NONE, response_format={"type": "json_object"})
    with pytest.raises(Wrong, match="chosen token only"):
        asked(NONE, logprobs=True, top_logprobs=2)
    assert asked(NONE, logprobs=True)["logprobs"] == 0


def test_messages_come_as_chat_templates_read_them() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": [1, null]}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "42"},
    ]
    given = asked(messages=messages)["messages"]
    assert [each["role"] for each in given] == ["system", "user", "assistant", "tool"]
    assert [each["content"] for each in given] == ["Be brief.", "a\nb", "", "42"]
    assert given[2]["tool_calls"][0]["function"]["arguments"] == {"x": [1, None]}
    assert "name" not in given[1]


def test_effort_and_template_arguments_reach_the_template() -> None:
    ask = asked(reasoning_effort="low", chat_template_kwargs={"enable_thinking": False})
    assert ask["template"] == {"reasoning_effort": "low", "enable_thinking": False}


@pytest.mark.parametrize("name", ["messages", "tokenize", "conversation", "chat_template", "return_tensors"])
def test_template_arguments_that_are_the_librarys_own_are_refused(name: str) -> None:
    with pytest.raises(Wrong, match="chat_template_kwargs"):
        asked(chat_template_kwargs={name: "x"})


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("a", [{"text": "a"}]),
        (["a", "b"], [{"text": "a"}, {"text": "b"}]),
        ([1, 2], [{"tokens": [1, 2]}]),
        ([[1, 2], [3]], [{"tokens": [1, 2]}, {"tokens": [3]}]),
    ],
)
def test_a_prompt_to_complete_comes_in_four_forms(prompt: Any, asks: list[dict[str, Any]]) -> None:
    call = front_asked.completions({"prompt": prompt}, ALL)
    assert [{key: each[key] for key in ("text", "tokens") if key in each} for each in call.asks] == asks


@pytest.mark.parametrize("prompt", [None, [], [[["a"]]], {"a": 1}, ["a"] * 17, [1, "a"], [-1]])
def test_a_prompt_of_no_known_form_is_refused(prompt: Any) -> None:
    with pytest.raises(Wrong, match="prompt"):
        front_asked.completions({"prompt": prompt}, ALL)

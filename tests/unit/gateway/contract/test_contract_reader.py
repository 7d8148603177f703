from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.gateway.contract.reading import ASKED, WITH_TOOLS, chunk, made, put_together, streamed, whole

from changeover.serving.profiles import Profile

BAR = "\uff5c"
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


def test_an_answer_that_holds_nothing_special_is_the_same_object() -> None:
    reading = made(Profile(reasoning="field", tool_calls="hermes"), WITH_TOOLS)
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]}
    first, second = chunk({"content": "Ye"}), chunk({"content": "s. 1"})

    assert reading.whole(answer) is answer
    reading.feed(first)
    assert reading.feed(second)[0] is second


def test_what_comes_in_is_not_changed() -> None:
    reading = made(Profile(reasoning="think", tool_calls="hermes"), WITH_TOOLS)
    text = f"<think>Hm.</think>{CALL}"
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    event, copies = chunk({"content": text}, "stop"), (json.dumps(answer), json.dumps(chunk({"content": text}, "stop")))

    reading.whole(answer)
    reading.feed(event)

    assert (json.dumps(answer), json.dumps(event)) == copies


def test_a_field_named_reasoning_becomes_reasoning_content() -> None:
    profile = Profile(reasoning="field")

    assert whole(profile, "Yes.", reasoning="Hm.").parts == ("Hm.", "Yes.", [], "stop")
    reading = made(profile)
    sent = [*reading.feed(chunk({"reasoning": "Hm."})), *reading.feed(chunk({"content": "Yes."}, "stop"))]
    assert "reasoning" not in sent[0]["choices"][0]["delta"]
    assert put_together(sent).parts == ("Hm.", "Yes.", [], "stop")


def test_both_names_for_one_thought_make_one_thought() -> None:
    said = whole(Profile(reasoning="field"), "Yes.", reasoning="Hm.", reasoning_content="Hm.")

    assert said.parts == ("Hm.", "Yes.", [], "stop")


@pytest.mark.parametrize("form", ["field", "think", "think_open"])
def test_reasoning_that_leaks_is_separated_too(form: Any) -> None:
    text = "\n<think>\nHm. </think>\n\nYes."

    assert whole(Profile(reasoning=form), text).parts == ("Hm.", "Yes.", [], "stop")
    assert streamed(Profile(reasoning=form), list(text)).parts == ("Hm.", "Yes.", [], "stop")


def test_an_engine_that_reads_the_opened_thought_itself_is_believed() -> None:
    profile = Profile(reasoning="think_open")
    reading = made(profile)
    sent = [*reading.feed(chunk({"reasoning_content": "Hm."})), *reading.feed(chunk({"content": "Yes."}, "stop"))]

    assert put_together(sent).parts == ("Hm.", "Yes.", [], "stop")
    assert whole(profile, "Yes.", reasoning_content="Hm.").parts == ("Hm.", "Yes.", [], "stop")


@pytest.mark.parametrize(
    "body",
    [
        {"chat_template_kwargs": {"thinking": False}},
        {"reasoning_effort": "none"},
        {},
    ],
)
def test_a_model_that_does_not_think_now_begins_with_its_answer(body: dict[str, Any]) -> None:
    profile = Profile(reasoning="think_open", thinks="if_on", effort="thinking")

    assert whole(profile, "Yes.", {**ASKED, **body}).parts == ("", "Yes.", [], "stop")
    assert whole(profile, "Hm.</think>Yes.", {**ASKED, "reasoning_effort": "low"}).parts == ("Hm.", "Yes.", [], "stop")


def test_a_grammar_leaves_no_room_for_an_opened_thought() -> None:
    body = {**ASKED, "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}

    assert whole(Profile(reasoning="think_open"), '{"a": 1}', body).content == '{"a": 1}'


@pytest.mark.parametrize("text", ["<think>Hm. And", "Hm. And"])
def test_a_thought_that_was_cut_off_stays_a_thought(text: str) -> None:
    form: Any = "think" if text.startswith("<") else "think_open"

    assert whole(Profile(reasoning=form), text, reason="length").parts == ("Hm. And", "", [], "length")
    assert streamed(Profile(reasoning=form), list(text), reason="length").parts == ("Hm. And", "", [], "length")


def test_a_stream_that_ends_without_a_reason_gives_what_was_held_back() -> None:
    assert streamed(Profile(reasoning="field"), ["<thi"], reason=None).content == "<thi"


@pytest.mark.parametrize(
    "text",
    [
        "Write <tool_call> and then JSON.",
        "<tool_call>\n{not json}\n</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>",
        '<tool_call>{"name": "get_wea',
    ],
)
def test_what_is_no_call_stays_content(text: str) -> None:
    assert whole(Profile(tool_calls="hermes"), text, WITH_TOOLS).parts == ("", text, [], "stop")
    assert streamed(Profile(tool_calls="hermes"), list(text), WITH_TOOLS).parts == ("", text, [], "stop")


def test_a_call_in_any_order_of_its_keys_is_read() -> None:
    text = '<tool_call>{"arguments": "{\\"city\\": \\"Oslo\\"}", "name": "get_weather"}</tool_call>'

    assert whole(Profile(tool_calls="hermes"), text, WITH_TOOLS).calls == [("get_weather", '{"city": "Oslo"}')]


def test_arguments_are_passed_on_as_they_come() -> None:
    reading = made(Profile(tool_calls="hermes"), WITH_TOOLS)
    reading.feed(chunk({"content": '<tool_call>{"name": "get_weather", "arguments": {"city": "O'}))

    (event,) = reading.feed(chunk({"content": "slo"}))

    assert event["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": "slo"}}]}


def test_values_between_tags_get_the_types_of_the_schema() -> None:
    text = (
        "<tool_call><function=get_weather><parameter=city>\n007\n</parameter><parameter=days>\n3\n</parameter>"
        "<parameter=units>1</parameter><parameter=more>[1, true]</parameter><parameter=all>True</parameter></function></tool_call>"
    )

    ((_, arguments),) = whole(Profile(tool_calls="qwen_coder"), text, WITH_TOOLS).calls

    assert json.loads(arguments) == {"city": "007", "days": 3, "units": "1", "more": [1, True], "all": True}


def test_the_ids_that_kimi_gives_are_kept() -> None:
    text = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:3<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
    )

    said = streamed(Profile(tool_calls="kimi"), list(text), WITH_TOOLS)

    assert said.ids == ["functions.get_weather:3"]
    assert said.calls == [("get_weather", '{"city": "Oslo"}')]


def test_both_forms_of_deepseek_are_read() -> None:
    newer = f'<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>get_weather<{BAR}tool▁sep{BAR}>{{"days": 1}}<{BAR}tool▁call▁end{BAR}><{BAR}tool▁calls▁end{BAR}>'
    newest = (
        f'<{BAR}DSML{BAR}function_calls>\n<{BAR}DSML{BAR}invoke name="get_weather">\n'
        f'<{BAR}DSML{BAR}parameter name="more" string="true">1</{BAR}DSML{BAR}parameter>\n'
        f'<{BAR}DSML{BAR}parameter name="days" string="false">1</{BAR}DSML{BAR}parameter>\n'
        f"</{BAR}DSML{BAR}invoke>\n</{BAR}DSML{BAR}function_calls>"
    )

    assert whole(Profile(tool_calls="deepseek"), newer, WITH_TOOLS).calls == [("get_weather", '{"days": 1}')]
    assert streamed(Profile(tool_calls="deepseek"), list(newest), WITH_TOOLS).calls == [
        ("get_weather", '{"more": "1", "days": 1}')
    ]


def test_a_call_ends_a_thought_where_its_marker_is_a_token() -> None:
    text = '<|channel>thought\nHm.<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>'

    said = whole(Profile(reasoning="gemma4", tool_calls="gemma4"), text, WITH_TOOLS)

    assert said.parts == ("Hm.", "", [("get_weather", '{"city":"Oslo"}')], "tool_calls")


def test_harmony_shows_what_is_meant_for_the_user_and_hides_the_rest() -> None:
    text = (
        "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>I look it up.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
    )

    said = streamed(Profile(reasoning="harmony", tool_calls="harmony"), list(text), WITH_TOOLS)

    assert said.parts == ("One.\nTwo.", "I look it up.", [("get_weather", '{"city": "Oslo"}')], "tool_calls")


@pytest.mark.parametrize("text", ["Yes.", "<|channel", "a <|channel|>b"])
def test_an_engine_that_reads_harmony_itself_is_believed(text: str) -> None:
    assert streamed(Profile(reasoning="harmony"), list(text)).parts == ("", text, [], "stop")


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Oslo"}}', 1),
        ('```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```', 1),
        ('{"name": "get_weather", "arguments": {}}\n{"name": "get_weather", "parameters": {}}', 2),
        ('{"name": "Alice", "arguments": {"city": "Oslo"}}', 0),
        ('It is {"name": "get_weather", "arguments": {}}', 0),
    ],
)
def test_json_is_only_a_call_where_it_names_a_tool_and_stands_alone(text: str, calls: int) -> None:
    said = streamed(Profile(tool_calls="none"), list(text), WITH_TOOLS)

    assert len(said.calls) == calls
    assert said.content == ("" if calls else text)


def test_usage_and_probabilities_are_not_lost_while_text_is_held_back() -> None:
    reading = made(Profile(tool_calls="hermes"), WITH_TOOLS)
    event = {**chunk({"content": "<tool"}), "usage": {"prompt_tokens": 1}}
    with_logprobs = chunk({"content": "_call"})
    with_logprobs["choices"][0]["logprobs"] = {"content": []}
    usage = {"choices": [], "usage": {"prompt_tokens": 1}}

    assert reading.feed(event)[0]["usage"] == {"prompt_tokens": 1}
    assert reading.feed(with_logprobs)[0]["choices"][0]["logprobs"] == {"content": []}
    assert reading.feed(usage)[0] is usage
    assert reading.feed(chunk({"content": ""}))[0]["choices"][0]["delta"] == {"content": ""}


@pytest.mark.parametrize(
    "odd", [{"choices": None}, {"choices": [None]}, {"choices": [{}]}, {"choices": [{"delta": 1}]}, {}]
)
def test_shapes_that_nobody_knows_pass(odd: dict[str, Any]) -> None:
    reading = made(Profile(reasoning="think"))

    assert reading.feed(odd) == [odd]
    assert reading.whole(odd) == odd
    assert reading.finish() == []


CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize("calls", ["native_or_bare", "hermes"])
def test_bare_json_of_a_small_model_is_a_call_where_it_names_a_tool(calls: Any) -> None:
    profile = Profile(tool_calls=calls)

    assert whole(profile, CALL, WITH_TOOLS).parts == ("", "", [("get_weather", '{"city": "Paris"}')], "tool_calls")
    assert whole(profile, CALL.replace("get_", "take_"), WITH_TOOLS).calls == []
    assert whole(profile, f"So: {CALL}", WITH_TOOLS).calls == []


def test_an_answer_that_a_schema_held_to_a_call_is_one_even_for_a_model_that_thinks() -> None:
    profile = Profile(reasoning="think_open", thinks="always", tool_calls="qwen_coder", forced_calls="schema")

    said = whole(profile, CALL, {**WITH_TOOLS, "tool_choice": "required"})

    assert said.parts == ("", "", [("get_weather", '{"city": "Paris"}')], "tool_calls")

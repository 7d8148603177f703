"""However a stream is cut, the same is read from it; and nothing that was said gets lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.contract.reading import ASKED, WITH_TOOLS, chunk, made, pieces, put_together, streamed, whole

from changeover.gateway.contract import reader
from changeover.serving.engines.echo_families import HARMONY_FINAL, Called, with_calls, with_reasoning
from changeover.serving.profiles import Profile

LOOK_ALIKES = [
    "<thin", "<think>", "</think", "<", "a < b", "```", "```json\n", "<tool", "<tool_call", "<|chan", "<|", "|>", "{", "}",
    '{"name": "x"', "<function", "<invoke", "<\uff5ctool", "\n", " ", "\n\n", "é", "漢", "😀", "word", "functions.", "to=",
]  # fmt: skip
MARKERS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": "get_weather", "arguments": {', "}}", '"a": 1', "\\",
    '"', '{"arguments": {}, "name": "other"}', "<function=f>", "</function>", "<parameter=city>", "</parameter>", "f\n",
    "<arg_key>city</arg_key>", "<arg_value>", "</arg_value>", "<minimax:tool_call>", '<invoke name="f">', "</invoke>",
    '<parameter name="days">', "</minimax:tool_call>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>",
    "functions.f:0", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>",
    "<\uff5ctool▁calls▁begin\uff5c>", "<\uff5ctool▁call▁begin\uff5c>", "function", "<\uff5ctool▁sep\uff5c>",
    "<\uff5ctool▁call▁end\uff5c>", "<\uff5ctool▁calls▁end\uff5c>", "```", "<|channel|>", "final", "analysis", "<|message|>",
    " to=functions.f", "<|end|>", "<|start|>", "<|call|>", "<|channel>", "thought\n", "<channel|>", "<|tool_call>",
    "call:f{", "k:", '<|"|>', "}", "<tool_call|>",
]  # fmt: skip
prose = st.lists(st.one_of(st.sampled_from(LOOK_ALIKES), st.text(max_size=6)), max_size=8).map("".join)
marked = st.lists(st.one_of(st.sampled_from(MARKERS), st.sampled_from(LOOK_ALIKES)), max_size=14).map("".join)
words = st.text(alphabet="abc é漢😀.,'\"\\{}[]", min_size=1, max_size=20).map(str.strip).filter(bool)
cuts = st.lists(st.integers(0, 400), max_size=60)
values = st.one_of(words, st.integers(-999, 999), st.booleans(), st.none(), st.lists(st.integers(0, 9), max_size=3))
arguments = st.dictionaries(st.sampled_from(["city", "days", "more"]), values, max_size=3)
calls = st.lists(
    st.builds(Called, name=st.sampled_from(["get_weather", "other"]), arguments=arguments), min_size=1, max_size=3
)

THINKING = ["think", "think_open", "harmony", "gemma4"]
CALLING = ["hermes", "qwen_coder", "glm", "minimax", "kimi", "deepseek", "harmony", "gemma4"]


def answer(form: str, reasoning: str, text: str) -> str:
    written = with_reasoning(form, reasoning, text)
    return written.replace("<|start|>assistant", "<|start|>assistant" + HARMONY_FINAL) if form == "harmony" else written


def cleaned(text: str, *markers: str) -> str:
    """Text in which nothing stands that the format itself would read."""
    for marker in markers:
        text = text.replace(marker, "")
    return text


@pytest.mark.parametrize("form", THINKING)
@given(reasoning=words, text=words, places=cuts)
@settings(max_examples=60, deadline=None)
def test_reasoning_is_separated_however_the_stream_is_cut(
    form: Any, reasoning: str, text: str, places: list[int]
) -> None:
    profile = Profile(reasoning=form)
    written = answer(form, reasoning, text)

    said = whole(profile, written)

    assert said.parts == (reasoning, text, [], "stop")
    assert streamed(profile, pieces(written, places)).parts == said.parts
    assert streamed(profile, list(written)).parts == said.parts


@pytest.mark.parametrize("form", CALLING)
@given(called=calls, places=cuts)
@settings(max_examples=60, deadline=None)
def test_calls_are_read_however_the_stream_is_cut(form: Any, called: list[Called], places: list[int]) -> None:
    profile = Profile(tool_calls=form)
    written = with_calls(form, called)

    said = whole(profile, written, WITH_TOOLS)

    assert said.content == ""
    assert said.reason == "tool_calls"
    assert [name for name, _ in said.calls] == [call.name for call in called]
    for (_, text), call in zip(said.calls, called, strict=True):
        assert json.loads(text).keys() == call.arguments.keys()
        if form in ("hermes", "kimi", "deepseek", "harmony", "gemma4"):  # the others write numbers and texts alike
            assert json.loads(text) == dict(call.arguments)
    assert len(set(said.ids)) == len(said.ids)
    assert streamed(profile, pieces(written, places), WITH_TOOLS).parts == said.parts
    assert streamed(profile, list(written), WITH_TOOLS).parts == said.parts


@pytest.mark.parametrize("calling", [*CALLING, "none", "native"])
@pytest.mark.parametrize("form", [*THINKING, "field", "none"])
@given(written=st.one_of(prose, marked), places=cuts, reason=st.sampled_from(["stop", "length", None]))
@settings(max_examples=25, deadline=None)
def test_any_text_at_all_is_read_the_same_in_pieces(
    form: Any, calling: Any, written: str, places: list[int], reason: str | None
) -> None:
    profile = Profile(reasoning=form, tool_calls=calling)
    if form == "none" and calling == "native":
        return

    said = whole(profile, written, WITH_TOOLS, reason=reason or "stop")

    one = streamed(profile, pieces(written, places), WITH_TOOLS, reason=reason)
    assert one.parts[:3] == said.parts[:3]
    assert streamed(profile, list(written), WITH_TOOLS, reason=reason).parts[:3] == said.parts[:3]


@pytest.mark.parametrize("calling", [*CALLING, "none"])
@given(written=prose, places=cuts)
@settings(max_examples=40, deadline=None)
def test_text_without_a_marker_passes_unchanged(calling: Any, written: str, places: list[int]) -> None:
    written = cleaned(written, "<think>", "</think>", "<tool_call>", "<function=")
    profile = Profile(reasoning="think", tool_calls=calling)

    assert whole(profile, written, WITH_TOOLS).parts == ("", written, [], "stop")
    assert streamed(profile, pieces(written, places), WITH_TOOLS).parts == ("", written, [], "stop")


@given(lead=words, tail=words, called=calls, form=st.sampled_from(CALLING), places=cuts)
@settings(max_examples=60, deadline=None)
def test_what_is_said_around_calls_stays_content(
    lead: str, tail: str, called: list[Called], form: Any, places: list[int]
) -> None:
    if form == "harmony":
        return
    profile = Profile(tool_calls=form)
    written = f"{lead}{with_calls(form, called)}{tail}"

    said = streamed(profile, pieces(written, places), WITH_TOOLS)

    assert said.content == lead + tail
    assert len(said.calls) == len(called)


@pytest.mark.parametrize("form", CALLING)
@given(called=calls, cut=st.integers(0, 400), places=cuts)
@settings(max_examples=60, deadline=None)
def test_an_answer_that_was_cut_off_within_a_call_is_read_the_same_in_pieces(
    form: Any, called: list[Called], cut: int, places: list[int]
) -> None:
    profile = Profile(tool_calls=form)
    written = with_calls(form, called)[:cut]

    said = whole(profile, written, WITH_TOOLS, reason="length")

    assert said.reason == "length"
    assert streamed(profile, pieces(written, places), WITH_TOOLS, reason="length").parts == said.parts


@given(written=prose.map(lambda text: cleaned(text, "<think>", "</think>")))
@settings(max_examples=60, deadline=None)
def test_content_waits_for_no_more_than_a_marker_could_be_long(written: str) -> None:
    reading = made(Profile(reasoning="field", tool_calls="hermes"), WITH_TOOLS)
    written = "Said: " + cleaned(written, "<tool_call>")
    sent = ""

    for place, letter in enumerate(written):
        for event in reading.feed(chunk({"content": letter})):
            sent += event["choices"][0]["delta"].get("content") or ""
        assert place + 1 - len(sent) < len("<tool_call>")

    assert written.startswith(sent)


@given(texts=st.lists(prose, min_size=2, max_size=4), order=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_choices_do_not_disturb_each_other(texts: list[str], order: Any) -> None:
    profile = Profile(reasoning="think", tool_calls="hermes")
    reading = made(profile, WITH_TOOLS)
    waiting = [(index, letter) for index, text in enumerate(texts) for letter in text]
    order.shuffle(waiting)
    waiting.sort(key=lambda _: order.random())
    left = {index: iter(text) for index, text in enumerate(texts)}
    sent: list[dict[str, Any]] = []
    for index, _ in waiting:
        sent += reading.feed(chunk({"content": next(left[index])}, index=index))
    for index in range(len(texts)):
        sent += reading.feed(chunk({}, "stop", index))

    for index, text in enumerate(texts):
        assert put_together(sent, index).parts == whole(profile, text, WITH_TOOLS).parts


def test_a_reader_is_only_made_where_there_is_something_to_read() -> None:
    assert reader(Profile(), WITH_TOOLS) is None
    assert reader(Profile(tool_calls="hermes"), ASKED) is None
    assert reader(Profile(tool_calls="hermes"), {**WITH_TOOLS, "tool_choice": "none"}) is None
    assert reader(Profile(tool_calls="hermes"), WITH_TOOLS) is not None
    assert reader(Profile(reasoning="field"), ASKED) is not None

"""Events that differ in their text alone go on as if each had been looked through."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.test_relay import COUNT, DONE, relayed

from changeover.gateway.alike import alike

NAMED, TASK = (b'"model":"m"', b'"model": "m"'), b'"model":"notes"'


def event(text: str, *, named: str = "m", **more: Any) -> bytes:
    said = {"choices": [{"index": 0, "delta": {"content": text}}], "created": 1, "model": named, **more}
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


def test_an_event_with_another_text_goes_on_under_the_tasks_name() -> None:
    pattern = alike(event("one"), NAMED, TASK)
    assert pattern is not None
    for text in ("two", "", "a\nb", "Größe 😀", "\\", "usage", "model"):
        assert pattern.sent(event(text)) == event(text, named="notes")


@pytest.mark.parametrize(
    "other",
    [
        event("two", created=2),
        event("two", named="n"),
        event('"'),
        event("two", usage={"prompt_tokens": 1, "completion_tokens": 2}),
        event("two") + event("three"),
        event("two")[:-1],
        event("two") + DONE,
        event("two")[len(b"data: ") :],
        DONE,
        b": ping\n\n",
    ],
)
def test_what_says_more_than_another_text_is_looked_through(other: bytes) -> None:
    pattern = alike(event("one"), NAMED, TASK)
    assert pattern is not None
    assert pattern.sent(other) is None


def test_before_and_after_may_not_share_a_byte() -> None:
    said = b'data: {"model":"m","content":"}a"}\n\n'
    pattern = alike(said.replace(b"}a", b""), NAMED, TASK)
    assert pattern is not None
    assert pattern.sent(pattern.before[:-1] + pattern.after) is None


@pytest.mark.parametrize(
    "told",
    [
        event("one", usage={"prompt_tokens": 1, "completion_tokens": 2}),
        event("one", error={"message": "no"}),
        event('"one"'),
        event("one", beside={"content": "two"}),
        event("one") + event("two"),
        b'data: {"content":"one',
        b'data: {"content":"key":1}\n\n',
        COUNT,
        DONE,
    ],
)
def test_an_event_that_says_more_than_a_text_is_no_pattern(told: bytes) -> None:
    assert alike(told, NAMED, TASK) is None


def test_a_count_that_is_still_null_says_nothing() -> None:
    pattern = alike(event("one", usage=None), NAMED, TASK)
    assert pattern is not None
    assert pattern.sent(event("two", usage=None)) == event("two", named="notes", usage=None)


PIECES: st.SearchStrategy[bytes] = st.one_of(
    st.builds(event, st.text(max_size=12)),
    st.builds(
        event, st.sampled_from(["usage", "error", '"usage"', '","model":"m', "}\n\ndata: [DONE]\n\n", "\\", "\r\n"])
    ),
    st.builds(event, st.text(max_size=3), created=st.integers(1, 3)),
    st.builds(event, st.text(max_size=3), named=st.sampled_from(["m", "other"])),
    st.just(COUNT),
    st.just(b": ping\n\n"),
)


@given(st.lists(PIECES, max_size=12), st.booleans())
async def test_a_stream_is_the_same_whether_its_events_come_one_by_one_or_at_once(
    pieces: list[bytes], wants: bool
) -> None:
    asked = {"stream_options": {"include_usage": True}} if wants else {}
    whole, of_whole = await relayed(event("first"), b"".join([*pieces, DONE]), **asked)
    single, of_single = await relayed(event("first"), *pieces, DONE, **asked)
    assert single.sent == whole.sent
    assert b"".join(of_single.kept) == b"".join(of_whole.kept)
    assert of_single.completion_tokens == of_whole.completion_tokens

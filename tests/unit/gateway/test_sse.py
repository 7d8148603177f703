import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import UpstreamError
from changeover.gateway.assembled import message_in, texts_in, words_in
from changeover.gateway.sse import Cutter, events, looks_whole, payload, telling_from

STREAM = b'data: {"model":"m","choices":[{"delta":{"content":"h\xc3\xa9 \\n\\n"}}]}\n\n: ping\n\ndata: {"a":1}\n\ndata: [DONE]\n\n'


def collect(chunks: list[bytes]) -> list[bytes]:
    cutter = Cutter()
    blocks = [cutter.cut(chunk) for chunk in chunks]
    cutter.end()
    return [block for block in blocks if block]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_a_stream_is_cut_on_the_way_the_same_whole_events_come_out(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in itertools.pairwise(ends)]
    blocks = collect(chunks)
    assert b"".join(blocks) == STREAM
    assert all(block.endswith(b"\n\n") for block in blocks)


def test_carriage_returns_are_understood_and_a_torn_event_is_a_failure() -> None:
    assert collect([b"data: {}\r\n\r\n"]) == [b"data: {}\n\n"]
    assert collect([b"data: {}\r", b"\n\r", b"\ndata: 1\n\n"]) == [b"data: {}\n\ndata: 1\n\n"]
    with pytest.raises(UpstreamError, match="inside an event"):
        collect([b'data: {"a":1}\n\ndata: {"b"'])


def test_a_block_is_read_from_the_event_on_that_may_hold_tokens() -> None:
    none, null = b'data: {"choices":[1]}\n\n', b'data: {"usage": null}\n\n'
    told = b'data: {"usage":{"prompt_tokens":1}}\n\n'
    assert telling_from(none + null) == len(none + null)
    assert telling_from(none + null + told + none) == len(none + null)
    assert telling_from(told) == 0
    assert looks_whole(none + null)
    assert not looks_whole(none + b"data: [DONE]\n\n")


def test_payloads_are_objects_marks_or_errors() -> None:
    first, ping, second, done = events(STREAM)
    assert payload(first) is not None
    assert payload(ping) is None
    assert payload(second) == {"a": 1}
    assert payload(done) is None
    for wrong in (b"data: [1]", b"data: {", b'data: {"error":{"message":"x"}}', b"error: lost"):
        with pytest.raises(UpstreamError):
            payload(wrong)


def test_a_stream_is_put_together_to_the_message_that_a_whole_answer_would_have_had() -> None:
    def event(**delta: object) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"

    stream = (
        event(role="assistant", content="")
        + event(reasoning_content="I ")
        + event(reasoning_content="think")
        + event(content="Let me ")
        + event(content="look.")
        + event(
            tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}}]
        )
        + event(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}])
        + event(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}])
        + b"data: [DONE]\n\n"
    )
    assert message_in(stream) == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "I think",
        "tool_calls": [{"function": {"name": "find", "arguments": '{"a":1}'}, "id": "c1", "type": "function"}],
    }
    assert words_in(stream) == 'I thinkLet me look.{"a":1}'
    assert texts_in(stream) == []


def test_odd_events_among_the_others_cost_only_themselves() -> None:
    usual = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    odd = b'data: {"choices":["x"]}\n\ndata: {"choices":[{"delta":{"content":7}}]}\n\n: ping\n\n'
    assert texts_in(usual + odd + usual) == ["aa"]
    assert message_in(usual + b"data: {broken\n\n" + usual)["content"] == "a"

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.gateway.contract import prepare
from changeover.gateway.endpoints import CHAT, Counts
from changeover.gateway.forbidden import refuse_forbidden
from changeover.gateway.plain import is_plain_chat, plain_answer
from changeover.serving.profiles import Profile

HI = [{"role": "user", "content": "hi"}]
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b"}}]}]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": None, "temperature": 1, "top_p": 0.5, "seed": 7, "stop": ["a", "b"], "user": "u", "n": 2},
        {"max_tokens": 5, "max_completion_tokens": 6, "frequency_penalty": 0, "presence_penalty": -0.5},
    ],
)
def test_texts_and_sampling_parameters_are_plain(more: dict[str, Any]) -> None:
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "日本", "name": "ana"}]
    assert is_plain_chat(json.dumps({"model": "m", "messages": system, **more}).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"messages": HI},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": PICTURE},
        {"model": "m", "messages": [{"role": "developer", "content": "x"}]},
        {"model": "m", "messages": [{"role": "assistant", "content": "<think>x</think>y"}]},
        {"model": "m", "messages": [{"role": "user", "content": None}]},
        {"model": "m", "messages": [{"role": "user", "content": "x", "image_url": "file:///etc/passwd"}]},
        {"model": "m", "messages": HI, "tools": []},
        {"model": "m", "messages": HI, "response_format": {"type": "json_object"}},
        {"model": "m", "messages": HI, "reasoning_effort": "low"},
        {"model": "m", "messages": HI, "lora": [{"id": 0}]},
        {"model": "m", "messages": HI, "chat_template": "x"},
        {"model": "m", "messages": HI, "top_k": 5},
        {"model": "m", "messages": HI, "max_tokens": 0},
        {"model": "m", "messages": HI, "max_tokens": 1.5},
        {"model": "m", "messages": HI, "n": True},
        {"model": "m", "messages": HI, "stream": "yes"},
        {"model": "m", "messages": HI, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"model": 5, "messages": HI},
        [],
    ],
)
def test_what_a_stage_may_have_to_see_to_is_not_plain(body: Any) -> None:
    assert not is_plain_chat(json.dumps(body).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"messages":%s}' % json.dumps(PICTURE).encode(),
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"lo\\u0072a":[]}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":NaN}',
        b"{" * 5000,
        b"",
    ],
)
def test_what_is_hidden_or_broken_is_not_plain(raw: bytes) -> None:
    assert not is_plain_chat(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.sampled_from(["user", "data:x", "http://a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "url", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(["stream", "n", "max_tokens", "stop", "tools", "user", "image_url", "stream_options", "top_k"])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "developer", "tool"]), "content": st.text(max_size=5) | VALUES},
        optional={"name": VALUES, "tool_calls": VALUES},
    ),
    max_size=3,
)


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": MESSAGES}), st.dictionaries(NAMES, VALUES, max_size=3))
def test_a_plain_request_holds_nothing_that_the_stages_would_refuse_or_change(body: dict[str, Any], more: Any) -> None:
    asked = {**body, **more}
    if is_plain_chat(json.dumps(asked).encode()):
        refuse_forbidden(asked)
        CHAT.check(asked)
        assert prepare(Profile(), "chat", asked) is asked


def answer(**changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "c", "object": "chat.completion", "model": "engine", "choices": [choice], "usage": usage, **changes}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_whole_answer_passes_with_the_tasks_name_and_its_count(separators: tuple[str, str]) -> None:
    said = answer(choices=[{"message": {"role": "assistant", "content": 'it is "model":"engine"'}}])
    found = plain_answer(json.dumps(said, separators=separators).encode(), "invoices")
    assert found is not None
    assert found.counts == Counts(3, 2)
    assert json.loads(found.body) == {**said, "model": "invoices"}


def test_both_spellings_of_the_name_are_replaced_wherever_they_stand() -> None:
    raw = json.dumps(answer())[:-1].encode() + b',"timings":{"model":"engine"}}'
    found = plain_answer(raw, "t")
    assert found is not None
    assert b"engine" not in found.body


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(answer(usage=None)).encode(),
        json.dumps(answer(usage={"prompt_tokens": -1, "completion_tokens": 2})).encode(),
        json.dumps(answer(usage={"prompt_tokens": 1})).encode(),
        json.dumps(answer(choices=[])).encode(),
        json.dumps(answer(choices=[{"message": "hi"}])).encode(),
        json.dumps(answer(choices=[{"message": None}])).encode(),
        json.dumps(answer(choices=None)).encode(),
        json.dumps(answer(model=None)).encode(),
        json.dumps(answer()).replace('"model": "engine"', '"model"  :"engine"').encode(),
        json.dumps(answer()).encode().replace(b'"c"', b'"\xff"'),
        b"[]",
        b"no",
    ],
)
def test_an_answer_that_is_not_whole_or_not_counted_is_read_by_the_stages(raw: bytes) -> None:
    assert plain_answer(raw, "t") is None

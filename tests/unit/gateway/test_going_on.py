"""Streams that break off: what the caller gets of them, wherever that is, and when nobody may go on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs
from tests.unit.gateway.test_relay import Reply
from tests.unit.gateway.test_resolve import LIVE, SNAPSHOT, ask

from changeover.core.clock import SystemClock
from changeover.core.errors import RequestError, UpstreamError
from changeover.core.settings import Price
from changeover.gateway.breaker import Breakers
from changeover.gateway.deliver import Delivering, deliver
from changeover.gateway.dispatch import Limits, dispatch
from changeover.gateway.http import Head
from changeover.gateway.visit import Visit
from changeover.gateway.ways import Turn, Way

TEXT = "One, two – three,\n\nfour and “five”: 六七八."
WORDS = ["One,", " two", " –", " three", ",\n", "\n", "four ", "and", " “five”", ": ", "六七", "八."]
CLOCK = SystemClock()


class Answer:
    """A stream of some bytes, one at a time where it matters, that ends well or breaks off."""

    def __init__(self, raw: bytes, breaks: bool) -> None:
        self.raw = raw
        self.breaks = breaks
        self.closed = False

    async def piece(self) -> bytes:
        if not self.raw and self.breaks:
            raise UpstreamError("It broke off.")
        said, self.raw = self.raw[:40], self.raw[40:]
        return said

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        while said := await self.piece():
            if not into(said):
                return False
        return True

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Engine:
    """Says the text, or what is left of it after the beginning that it is shown."""

    name: str
    cut: list[int] = field(default_factory=list[int])
    """After how many bytes each answer breaks off."""
    odd: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More in the first delta."""
    counts: bool = True
    model: None = None
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def open(self, path: str, body: bytes, **_: Any) -> Answer:
        fields = json.loads(body)
        self.asked.append(fields)
        last = fields["messages"][-1]
        begun = last["content"] if last["role"] == "assistant" else ""
        raw = stream(self.name, TEXT.removeprefix(begun), begun, self.odd, self.counts)
        return Answer(raw[: self.cut.pop(0)], True) if self.cut else Answer(raw, False)


def stream(name: str, text: str, begun: str, odd: Mapping[str, Any], counts: bool) -> bytes:
    """As engines write it, in pieces of their own."""
    head = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": len(name), "model": name}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", **odd}]
    place = len(TEXT) - len(text)
    for word in WORDS:
        if place < len(word):
            deltas.append({"content": word[max(place, 0) :]})
        place -= len(word)
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    events: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if counts:
        usage = {"prompt_tokens": 10 + len(begun.split()), "completion_tokens": len(text.split())}
        events.append({**head, "choices": [], "usage": usage})
    raw = [b"data: " + json.dumps(each, ensure_ascii=False).encode() + b"\n\n" for each in events]
    return b"".join([*raw, b"data: [DONE]\n\n"])


class Fleet:
    def __init__(self, *engines: Engine) -> None:
        self.engines: dict[str, Any] = {engine.name: engine for engine in engines}

    def upstream(self, name: str) -> Any:
        return self.engines.get(name)

    def is_ready(self, name: str) -> bool:
        return name in self.engines

    def wake(self, name: str) -> bool:
        return False


@dataclass
class Seen:
    """What came of one request."""

    reply: Reply
    visit: Visit
    breakers: Breakers
    error: UpstreamError | None

    @property
    def events(self) -> list[dict[str, Any]]:
        *blocks, rest = self.reply.sent.split(b"\n\n")
        assert rest == b"", "whole events only"
        assert all(block.startswith(b"data: ") for block in blocks)
        return [json.loads(block[6:]) for block in blocks if block != b"data: [DONE]"]

    @property
    def text(self) -> str:
        choices = [choice for event in self.events for choice in event["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def finished(self) -> list[str]:
        choices = [choice for event in self.events for choice in event["choices"]]
        return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


class Whole(Reply):
    """Also keeps the last piece."""

    def end(self, piece: bytes = b"") -> None:
        self.sent += piece
        super().end()


def profiled(engine: Engine, profile: Mapping[str, Any]) -> Turn:
    [variant] = SNAPSHOT.tasks["summarise"].variants.values()
    bundle = replace(variant.bundle, engine=replace(variant.bundle.engine, profile=profile))
    return None, Way.of(replace(variant, id=engine.name, deployment=engine.name, bundle=bundle), 1)


async def answered(
    *engines: Engine,
    profile: Mapping[str, Any] | None = None,
    on_break: str = "go_on",
    made: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Seen:
    call = ask(**{"stream": True, "stream_options": {"include_usage": True}, **asked})
    task = call.live.task
    declared = task.declared.model_copy(update={"on_break": on_break, "timeout_s": 5})
    call = structs.replace(call, live=replace(call.live, task=replace(task, declared=declared)), **(made or {}))
    visit = Visit("req_1", Head("POST", "/v1/chat/completions", ()), datetime.now(UTC), CLOCK.monotonic(), call=call)
    breakers = Breakers(failures=1, open_s=60, clock=CLOCK)
    limits = Limits(ready_wait_s=0, clock=CLOCK, breakers=breakers)
    fleet, turns = Fleet(*engines), [profiled(engine, profile or {}) for engine in engines]
    deadline = CLOCK.monotonic() + 5
    visit.opened = await dispatch(call, turns, fleet, visit.trail, limits, (), deadline)
    seen = Seen(Whole(), visit, breakers, None)
    try:
        await deliver(Delivering(visit, call, turns, fleet, limits, (), deadline), visit.opened, seen.reply)
    except UpstreamError as error:
        seen.error = error
    return seen


WHOLE = stream("first", TEXT, "", {}, True)
FIRST = WHOLE.index(b"\n\n") + 2
"""Bytes of the first event: until it is here, the next is asked as if nothing had been."""


async def test_wherever_a_stream_breaks_the_caller_gets_one_whole_stream() -> None:
    # Every byte of an event and its neighbours, and of the end; elsewhere some.
    letters = WHOLE.index(" “five”".encode())
    places = {*range(letters - 20, letters + 230), *range(len(WHOLE) - 60, len(WHOLE)), *range(FIRST, len(WHOLE), 31)}
    for place in sorted(places):
        seen = await answered(Engine("first", [place]), Engine("second"))
        assert seen.error is None, place
        assert seen.text == TEXT, place
        assert seen.reply.ended
        assert seen.reply.sent.count(b"data: [DONE]\n\n") == 1
        assert seen.reply.sent.endswith(b"data: [DONE]\n\n")
        assert seen.finished == ["stop"]
        head = {(event["id"], event["model"], event["created"]) for event in seen.events if "id" in event}
        assert head == {("chatcmpl-first", "summarise", 5)}
        assert sum("role" in choice["delta"] for event in seen.events for choice in event["choices"]) == 1
        assert [event["usage"] for event in seen.events if event.get("usage")][1:] == [], "once"
        assert seen.visit.trail.failed == ("first",), "whoever broke off has failed"
        assert not seen.visit.delivery.truncated


async def test_a_stream_that_breaks_twice_asks_each_next_once_and_then_whoever_began() -> None:
    places = [WHOLE.index(" –".encode()), WHOLE.index(b"four") - 300, 700]
    engines = [Engine("first", [places[0]]), Engine("second", [places[1]]), Engine("third", [places[2]])]
    seen = await answered(*engines)
    # The breaker of the first is open after its one failure, so that it is not asked again.
    assert [len(engine.asked) for engine in engines] == [1, 1, 1]
    assert isinstance(seen.error, UpstreamError)
    assert TEXT.startswith(seen.text)
    assert [variant.id for variant, _ in seen.visit.begun] == ["first", "second"]
    assert seen.visit.opened is not None
    assert seen.visit.opened.way.variant.id == "third", "who broke off last"
    assert all(seen.breakers.is_open(engine) for engine in engines)


async def test_the_next_is_shown_the_text_and_how_much_may_follow() -> None:
    second = Engine("second")
    await answered(Engine("first", [WHOLE.index("六七".encode())]), second, max_tokens=40)
    [asked] = second.asked
    assert asked["messages"][-1] == {"role": "assistant", "content": "One, two – three,\n\nfour and “five”:"}
    assert 20 <= asked["max_tokens"] < 40
    assert "continue_final_message" not in asked


async def test_an_engine_that_wants_it_said_is_told_to_go_on() -> None:
    second = Engine("second")
    seen = await answered(
        Engine("first", [WHOLE.index(b"four")]), second, profile={"continues": "continue_final_message"}
    )
    assert seen.text == TEXT
    assert (second.asked[0]["continue_final_message"], second.asked[0]["add_generation_prompt"]) == (True, False)


async def test_tokens_of_all_who_wrote_are_counted_and_priced_each_at_its_own() -> None:
    seen = await answered(Engine("first", [WHOLE.index(b"four") - 100]), Engine("second"))
    [usage] = [event["usage"] for event in seen.events if event.get("usage")]
    delivery, [(_, before)] = seen.visit.delivery, seen.visit.begun
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (delivery.prompt_tokens, delivery.completion_tokens)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["estimated"]
    assert delivery.estimated
    assert before.prompt
    assert before.completion
    rest = usage["prompt_tokens"] - before.prompt, usage["completion_tokens"] - before.completion
    assert rest[0] > 10, "the second read the text of the first"
    price = Price(usd_per_million_prompt_tokens=1, usd_per_million_completion_tokens=10)
    dear = Price(usd_per_million_prompt_tokens=100, usd_per_million_completion_tokens=1000)
    cost = seen.visit.microusd({"first": price, "second": dear})
    assert cost == before.prompt + 10 * before.completion + 100 * rest[0] + 1000 * rest[1]
    assert seen.visit.microusd({"second": dear}) is None


async def test_what_nobody_counted_is_estimated_together() -> None:
    seen = await answered(Engine("first", [WHOLE.index(b"four")], counts=False), Engine("second", counts=False))
    [usage] = [event["usage"] for event in seen.events if event.get("usage")]
    alone = await answered(Engine("third", counts=False))
    [once] = [event["usage"] for event in alone.events if event.get("usage")]
    assert usage["prompt_tokens"] >= 2 * once["prompt_tokens"] > 0
    assert usage["completion_tokens"] >= once["completion_tokens"] > 0


MIDDLE = WHOLE.index(b"four")


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
        {"grammar": "root ::= [a-z]+"},
        {"guided_choice": ["a", "b"]},
        {"logprobs": True},
        {"n": 2},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "One"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    ],
)
async def test_what_is_one_piece_is_not_gone_on_with(asked: dict[str, Any]) -> None:
    second = Engine("second")
    seen = await answered(Engine("first", [MIDDLE + 400]), second, **asked)
    assert isinstance(seen.error, UpstreamError)
    assert not second.asked
    assert seen.breakers.is_open(seen.visit.opened and seen.visit.opened.upstream)


@pytest.mark.parametrize(
    "odd", [{"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}, {"reasoning_content": "Hm"}]
)
async def test_nobody_goes_on_with_a_call_or_a_thought(odd: dict[str, Any]) -> None:
    second, place = Engine("second"), stream("first", TEXT, "", odd, True).index(b"One")
    seen = await answered(Engine("first", [place], odd), second)
    assert isinstance(seen.error, UpstreamError)
    assert not second.asked


@pytest.mark.parametrize(
    "profile",
    [{"continues": "none"}, {"reasoning": "think_open"}, {"reasoning": "think", "thinks": "unless_off"}],
)
async def test_a_model_that_would_begin_otherwise_is_not_asked_to_go_on(profile: dict[str, Any]) -> None:
    first, second = Engine("first", [len(WHOLE) - 500]), Engine("second")
    seen = await answered(first, second, profile=profile, reasoning_effort="high")
    assert isinstance(seen.error, UpstreamError)
    assert not second.asked


async def test_a_model_that_was_told_not_to_think_can_go_on() -> None:
    profile = {"reasoning": "think", "thinks": "unless_off", "effort": "enable_thinking"}
    seen = await answered(Engine("first", [MIDDLE]), Engine("second"), profile=profile, reasoning_effort="none")
    assert seen.error is None
    assert seen.text == TEXT


async def test_before_the_first_word_anybody_may_answer() -> None:
    for profile in ({"continues": "none"}, {"reasoning": "think_open"}):
        second = Engine("second")
        seen = await answered(Engine("first", [FIRST + 20]), second, profile=profile, logprobs=True)
        assert seen.error is None
        assert second.asked[0]["messages"][-1]["role"] == "user"
    assert seen.visit.trail.failed == ("first",)


@pytest.mark.parametrize("made", [{"pinned": LIVE}, {"internal": True}], ids=["named", "internal"])
async def test_an_evaluation_gets_the_one_that_it_asked_or_an_error(made: dict[str, Any]) -> None:
    second = Engine("second")
    seen = await answered(Engine("first", [MIDDLE]), second, made=made)
    assert isinstance(seen.error, UpstreamError)
    assert not second.asked
    finished = await answered(Engine("first", [len(WHOLE) - 10]), second, made=made)
    assert isinstance(finished.error, UpstreamError), "not even its end is said for it"


async def test_a_task_that_says_no_gets_the_error() -> None:
    second = Engine("second")
    seen = await answered(Engine("first", [MIDDLE]), second, on_break="error")
    assert isinstance(seen.error, UpstreamError)
    assert not second.asked
    assert seen.visit.begun == []


async def test_an_engine_that_refuses_to_go_on_has_not_failed_and_the_next_is_asked() -> None:
    class Refusing(Engine):
        async def open(self, path: str, body: bytes, **_: Any) -> Answer:
            self.asked.append(json.loads(body))
            raise RequestError("Cannot continue.")

    second = Refusing("second")
    seen = await answered(Engine("first", [MIDDLE]), second, Engine("third"))
    assert (seen.error, seen.text) == (None, TEXT)
    assert len(second.asked) == 1
    assert seen.visit.trail.failed == ("first",)
    assert not seen.breakers.is_open(second)

"""Answers as engines send them, cut at will, and what is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from changeover.gateway.contract import Reader, reader
from changeover.serving.profiles import Profile

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Say what the weather will be.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "units": {"enum": ["C", "F"]}},
            "required": ["city"],
        },
    },
}
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Say."}]}
WITH_TOOLS: dict[str, Any] = {**ASKED, "tools": [WEATHER]}


@dataclass
class Said:
    """One choice of an answer, put together."""

    reasoning: str = ""
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Names and arguments."""
    ids: list[str] = field(default_factory=list[str])
    reason: str | None = None

    @property
    def parts(self) -> tuple[str, str, list[tuple[str, str]], str | None]:
        """All but the ids, which are random."""
        return self.reasoning, self.content, self.calls, self.reason


def made(profile: Profile, body: dict[str, Any] = ASKED) -> Reader:
    found = reader(profile, body)
    assert found is not None
    return found


def whole(profile: Profile, text: str, body: dict[str, Any] = ASKED, *, reason: str = "stop", **message: Any) -> Said:
    answer = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}]
    }
    choice = made(profile, body).whole(answer)["choices"][0]
    message = choice["message"]
    said = Said(
        reasoning=message.get("reasoning_content") or "",
        content=message.get("content") or "",
        reason=choice["finish_reason"],
    )
    for call in message.get("tool_calls") or ():
        assert call["type"] == "function"
        assert "index" not in call
        said.calls.append((call["function"]["name"], call["function"]["arguments"]))
        said.ids.append(call["id"])
    return said


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """The text cut at these places."""
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


def streamed(
    profile: Profile, parts: Sequence[str], body: dict[str, Any] = ASKED, *, reason: str | None = "stop"
) -> Said:
    reading = made(profile, body)
    sent = reading.feed(chunk({"role": "assistant", "content": ""}))
    for part in parts:
        sent += reading.feed(chunk({"content": part}))
    if reason is not None:
        sent += reading.feed(chunk({}, reason))
    sent += reading.finish()
    return put_together(sent)


def put_together(sent: Sequence[dict[str, Any]], index: int = 0) -> Said:
    """What a client makes of a stream; it insists on the order and shape of tool calls."""
    said = Said()
    for event in sent:
        for choice in event["choices"]:
            if choice["index"] != index:
                continue
            assert said.reason is None, "nothing follows a finish reason"
            delta = choice["delta"]
            said.reasoning += delta.get("reasoning_content") or ""
            said.content += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                _add(said, call)
            said.reason = choice["finish_reason"]
    return said


def _add(said: Said, call: dict[str, Any]) -> None:
    function = call["function"]
    if "name" in function:
        assert call["index"] == len(said.calls)
        assert call["type"] == "function"
        said.ids.append(call["id"])
        said.calls.append((function["name"], function["arguments"]))
    else:
        assert call["index"] == len(said.calls) - 1
        assert function["arguments"]
        name, arguments = said.calls[-1]
        said.calls[-1] = (name, arguments + function["arguments"])

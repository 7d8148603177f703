"""An engine's answer in the one shape that applications see: reasoning beside content, tool calls as fields."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, cast

from changeover.gateway.contract.effort import thinks
from changeover.gateway.contract.reasoning import Way, read_answer
from changeover.gateway.contract.shape import asks_for_json
from changeover.gateway.contract.source import Found, Source, Steps
from changeover.gateway.contract.toolcalls import Tools
from changeover.gateway.contract.toolcalls.forced import held_by_schema
from changeover.gateway.contract.toolcalls.tools import wanted
from changeover.serving.profiles import Profile

Fields = dict[str, Any]


def reader(profile: Profile, body: Mapping[str, Any]) -> Reader | None:
    """Who reads the answer to a chat request; None where every byte may pass as it is.

    Args:
        profile: Of who answers.
        body: What was asked, before `prepare`: with the variant's parameters, for they may turn thinking on or off.
    """
    forced = held_by_schema(profile, body)
    calls = "none" if forced else profile.tool_calls if wanted(body) else "native"
    if profile.reasoning == "none" and calls == "native":
        return None
    # A grammar that holds from the first letter leaves no room for a thought: such an answer is content at once.
    opened = profile.reasoning == "think_open" and thinks(profile, body) and not (forced or asks_for_json(body))
    return Reader(Way(reasoning=profile.reasoning, opened=opened, calls=calls, tools=Tools(body)))


class Reader:
    """Reads one answer, whole or as a stream. Each choice is read on its own."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._choices: dict[int, _Choice] = {}
        self._last: Fields = {}

    def whole(self, fields: Fields) -> Fields:
        """A whole `chat.completion`. What comes in is not changed; the same object comes back if nothing is to do."""
        choices = fields.get("choices")
        if not isinstance(choices, list):
            return fields
        read = [self._read_whole(each) for each in cast("list[Any]", choices)]
        if all(new is old for new, old in zip(read, cast("list[Any]", choices), strict=True)):
            return fields
        return {**fields, "choices": read}

    def feed(self, fields: Fields) -> list[Fields]:
        """One `chat.completion.chunk`; what to send for it: the same object if nothing is to do, or nothing yet."""
        choices = fields.get("choices")
        if not isinstance(choices, list) or not choices:
            return [fields]
        self._last = fields
        given = cast("list[Any]", choices)
        read = [self._read_delta(each) for each in given]
        if len(read) == 1 and read[0] is given[0]:
            return [fields]
        kept = [each for each in read if each is not None]
        if not kept and not fields.get("usage"):
            return []
        return [{**fields, "choices": kept}]

    def finish(self) -> list[Fields]:
        """What is still to be sent when the stream ends; nothing, unless a choice ended without a finish reason."""
        open_ = [(index, choice) for index, choice in self._choices.items() if not choice.ended]
        left: list[Fields] = []
        for index, choice in open_:
            delta = choice.read("", ended=True)
            if delta:
                left.append({"index": index, "delta": delta, "finish_reason": None})
        head = {key: value for key, value in self._last.items() if key not in ("choices", "usage", "timings")}
        return [{**head, "choices": left}] if left else []

    def _read_delta(self, choice: Any) -> Any:
        """One choice of a chunk: the same object, another one, or None if there is nothing to send yet."""
        if not isinstance(choice, dict):
            return choice  # pyright: ignore[reportUnknownVariableType] - any JSON
        fields = cast("Fields", choice)
        delta = fields.get("delta")
        if not isinstance(delta, dict):
            return fields
        given = cast("Fields", delta)
        text, finish, index = given.get("content"), fields.get("finish_reason"), fields.get("index", 0)
        state = self._choices.get(index) or self._begin(index)
        if finish is None and "reasoning" not in given:
            if not text or not isinstance(text, str):
                state.has_field = state.has_field or bool(given.get("reasoning_content"))
                return fields
            idle = state.source.idle
            if idle is not None and idle.isdisjoint(text):
                if state.source.idle_as == "content":
                    return fields
                if not text[-1].isspace() and not given.get("reasoning_content"):
                    return {**fields, "delta": state.round_the_reader(given, text)}
        thought = _field(given)
        state.has_field = state.has_field or bool(thought)
        found = state.read(text if isinstance(text, str) else "", ended=finish is not None)
        new = {key: value for key, value in given.items() if key not in ("content", "reasoning")}
        _put(new, found, thought)
        if not text and "content" in given and "content" not in new:
            new["content"] = text
        if not new and finish is None and not fields.get("logprobs"):
            return None
        return {**fields, "delta": new, "finish_reason": state.reason(finish)}

    def _read_whole(self, choice: Any) -> Any:
        if not isinstance(choice, dict):
            return choice  # pyright: ignore[reportUnknownVariableType] - any JSON
        fields = cast("Fields", choice)
        message = fields.get("message")
        if not isinstance(message, dict):
            return fields
        given = cast("Fields", message)
        content = given.get("content")
        text = content if isinstance(content, str) else ""
        state = _Choice(self._way)
        thought = _field(given)
        state.has_field = bool(thought)
        found = state.read(text, ended=True)
        if found.get("content", "") == text and len(found) <= 1 and "reasoning" not in given:
            return fields
        new = {key: value for key, value in given.items() if key != "reasoning"}
        if isinstance(content, str):
            new["content"] = None if found.get("tool_calls") else ""
        _put(new, found, thought)
        for call in found.get("tool_calls", ()):
            del call["index"]
        return {**fields, "message": new, "finish_reason": state.reason(fields.get("finish_reason"))}

    def _begin(self, index: int) -> _Choice:
        self._choices[index] = state = _Choice(self._way)
        return state


class _Choice:
    """The state of one choice."""

    __slots__ = ("_found", "_steps", "_way", "ended", "has_field", "source")

    def __init__(self, way: Way) -> None:
        self._way = way
        self._found = Found()
        self._steps: Steps[None] | None = None
        self.source = Source()
        self.ended = False
        self.has_field = False
        """The engine has put reasoning into a field: then the text does not begin within it."""

    def read(self, text: str, *, ended: bool = False) -> Fields:
        """The parts of a delta that the text gives, together with what was held back."""
        source = self.source
        source.text += text
        source.ended = self.ended = ended
        if self._steps is None:
            if not text:
                return {}
            way = self._way
            if way.opened and self.has_field:
                way = Way(reasoning=way.reasoning, opened=False, calls=way.calls, tools=way.tools)
            self._steps = read_answer(source, self._found, way)
        next(self._steps, None)
        return self._delta()

    def round_the_reader(self, given: Fields, text: str) -> Fields:
        """The delta for text that needs no reading."""
        if self.source.idle_as == "reasoning":
            new: Fields = {"reasoning_content": text}
        else:
            new = {"tool_calls": [{"index": self._found.calls - 1, "function": {"arguments": text}}]}
        if len(given) > 1:
            new = {**given, **new}
            del new["content"]
        return new

    def reason(self, finish: Any) -> Any:
        """The finish reason: an answer that calls a tool says so."""
        return "tool_calls" if finish == "stop" and self._found.calls else finish

    def _delta(self) -> Fields:
        delta: Fields = {}
        calls: list[Fields] = []
        number = self._found.calls
        items = self._found.take()
        number -= sum(kind == "call" for kind, _, _ in items)
        for kind, text, id in items:
            if kind == "call":
                number += 1
                function: Fields = {"name": text, "arguments": ""}
                calls.append(
                    {"index": number - 1, "id": id or f"call_{token_hex(12)}", "type": "function", "function": function}
                )
            elif kind == "arguments":
                if not calls:
                    calls.append({"index": number - 1, "function": {"arguments": ""}})
                calls[-1]["function"]["arguments"] += text
            else:
                name = "content" if kind == "content" else "reasoning_content"
                delta[name] = delta.get(name, "") + text
        if calls:
            delta["tool_calls"] = calls
        return delta


def _field(given: Fields) -> str:
    """Reasoning that the engine has put into a field of its own, under either name."""
    for name in ("reasoning_content", "reasoning"):
        value = given.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def _put(new: Fields, found: Fields, reasoning: str) -> None:
    """Put what was read into a message or delta, behind what the engine had put there itself."""
    if reasoning or "reasoning_content" in found:
        new["reasoning_content"] = reasoning + found.get("reasoning_content", "")
    if "content" in found:
        new["content"] = found["content"]
    if "tool_calls" in found:
        new["tool_calls"] = [*(new.get("tool_calls") or ()), *found["tool_calls"]]

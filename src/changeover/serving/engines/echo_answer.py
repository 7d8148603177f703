"""What the echo engine answers, before it is put into any endpoint's shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from changeover.serving.engines.echo_asked import Asked, Said, Tool
from changeover.serving.engines.echo_families import HARMONY_FINAL, Called, with_calls, with_reasoning
from changeover.serving.engines.echo_schema import MARK, missing, smallest

LEAKED = "Let me think about it first."
HUGE_BYTES = 4 << 20
_CALL = re.compile(r"\bcall ([\w.-]+)")
_decoder = msgspec.json.Decoder()


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the engine answers and fails: `EchoOptions`, already checked by the parent, with durations in seconds.

    Not that class itself: its validation library would take a third of the engine's start.
    """

    reply: str
    delay_s: float
    chunk_delay_s: float
    chunks: int
    reasoning: str
    reasoning_format: str
    tool_format: str
    structured: str
    context_tokens: int | None
    system_role: bool
    unknown_fields: str
    fault: str
    fault_after: int
    fault_rate: float
    ready_delay_s: float


class Overflow(ValueError):
    """The prompt is longer than the context."""

    def __init__(self, tokens: int, most: int) -> None:
        super().__init__(
            f"request ({tokens} tokens) exceeds the available context size ({most} tokens), try increasing it"
        )
        self.tokens = tokens
        self.most = most


@dataclass(kw_only=True, slots=True)
class Answer:
    """The words of one answer, each of its choices the same. Tokens of this engine are words."""

    text: str
    reasoning: str = ""
    """What comes in a field of its own."""
    calls: tuple[Called, ...] = ()
    finish_reason: str = "stop"
    stopped_by: str | None = None
    """One of the texts that the caller wanted it to stop at."""
    prompt_tokens: int
    completion_tokens: int
    choices: int = 1
    pieces: int
    """Most chunks of a stream."""
    marked: bool = False
    """The text holds marks of a family: it is cut anywhere, inside the marks too."""
    counted: bool = True
    """It says how many tokens it took."""

    def text_pieces(self) -> Iterator[str]:
        """The text, as it is streamed."""
        if self.marked:
            return cut_anywhere(self.text, self.pieces)
        return cut_at_spaces(self.text, self.pieces)


def answer(asked: Asked, behaviour: Behaviour, fault: str) -> Answer:
    """Answer a request.

    Raises:
        ValueError: The engine, as it was told to behave, does not take this request.
    """
    prompt_tokens = check(asked, behaviour)
    calls = _calls(asked)
    text = "" if calls else _text(asked, behaviour)
    begun = asked.said[-1].text if asked.said[-1].role == "assistant" else ""
    text = text.removeprefix(begun)  # as engines do that go on with a message of their own
    text, stopped_by = _stopped(text, asked.stop)
    leaked = fault == "leaked_reasoning" and not begun
    thinks = leaked or (not begun and asked.thinks and behaviour.reasoning_format != "none")
    reasoning = (behaviour.reasoning or (LEAKED if leaked else "")) if thinks else ""
    if fault == "huge_chunk":
        text = (text * (HUGE_BYTES // max(len(text), 1) + 1))[:HUGE_BYTES]
    text, reasoning, finish_reason, tokens = _bounded(text, reasoning, calls, asked.most)
    plain = Answer(
        text=text,
        reasoning=reasoning,
        calls=calls,
        finish_reason=finish_reason,
        stopped_by=stopped_by,
        prompt_tokens=prompt_tokens,
        completion_tokens=tokens * asked.n,
        choices=asked.n,
        pieces=1 if fault == "huge_chunk" else behaviour.chunks,
        counted=fault != "missing_usage",
    )
    form = "think" if leaked else behaviour.reasoning_format
    if form in ("none", "field") and behaviour.tool_format == "native":
        return plain
    return _in_words(plain, form, behaviour.tool_format)


def check(asked: Asked, behaviour: Behaviour) -> int:
    """Refuse what the engine does not take; gives the prompt's tokens."""
    if not behaviour.system_role and any(each.role in ("system", "developer") for each in asked.said):
        raise ValueError("System role not supported")
    tokens = sum(len(each.text.split()) for each in asked.said)
    if behaviour.context_tokens is not None and tokens > behaviour.context_tokens:
        raise Overflow(tokens, behaviour.context_tokens)
    return tokens


def cut_at_spaces(text: str, most: int) -> Iterator[str]:
    """The text in at most so many pieces, cut between words; together they are the text again."""
    words = text.split(" ")
    size = -(-len(words) // most)
    for start in range(0, len(words), size):
        piece = " ".join(words[start : start + size])
        yield piece + " " if start + size < len(words) else piece


def cut_anywhere(text: str, most: int) -> Iterator[str]:
    """The text in at most so many pieces of one length."""
    size = max(1, -(-len(text) // most))
    for start in range(0, max(1, len(text)), size):
        yield text[start : start + size]


def _text(asked: Asked, behaviour: Behaviour) -> str:
    text = _last(asked.said) if behaviour.reply == "echo" else behaviour.reply
    if asked.shape is None or behaviour.structured == "ignored":
        return text
    shown = any(MARK in each.text for each in asked.said)
    if behaviour.structured == "broken" or (behaviour.structured == "broken_once" and not shown):
        return _json(missing(asked.shape))
    if asked.shape:
        return _json(smallest(asked.shape))
    return text if _starts_with_object(text, 0) is not None else _json({"answer": text})


def _last(said: tuple[Said, ...]) -> str:
    """What is repeated: the last word of the user's, or what a tool answered after it."""
    return next((each.text for each in reversed(said) if each.role in ("user", "tool")), "")


def _calls(asked: Asked) -> tuple[Called, ...]:
    """The calls that the user ordered as `call NAME {…}`, or else the one that has to be made."""
    if not asked.tools or asked.choice == "none":
        return ()
    tools = {tool.name: tool for tool in asked.tools}
    if asked.named and asked.choice not in tools:
        raise ValueError(f"'tool_choice' names {asked.choice!r}, which is none of 'tools'")
    answered = asked.said[-1].role == "tool"
    ordered = [] if answered else [each for each in _ordered(_last(asked.said)) if each.name in tools]
    if asked.named:
        ordered = [each for each in ordered if each.name == asked.choice]
    if ordered or not (asked.named or asked.choice == "required"):
        return tuple(ordered)
    tool: Tool = tools[asked.choice] if asked.named else asked.tools[0]
    return (Called(tool.name, smallest({"type": "object", **tool.parameters})),)


def _ordered(text: str) -> Iterator[Called]:
    for found in _CALL.finditer(text):
        yield Called(found[1], _starts_with_object(text, found.end()) or {})


def _starts_with_object(text: str, start: int) -> dict[str, Any] | None:
    """The JSON object that stands there, after spaces; None without one."""
    text = text[start:].lstrip()
    for end, letter in enumerate(text if text.startswith("{") else ""):
        if letter != "}":
            continue
        try:
            return _decoder.decode(text[: end + 1])
        except msgspec.DecodeError:
            continue
    return None


def _stopped(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    places = [(place, each) for each in stop if (place := text.find(each)) >= 0]
    if not places:
        return text, None
    place, by = min(places)
    return text[:place], by


def _bounded(text: str, reasoning: str, calls: tuple[Called, ...], most: int | None) -> tuple[str, str, str, int]:
    """Cut to as many words as there may be: thinking comes first, and calls are never cut.

    Returns:
        The text, the reasoning, why it ends, and how many words it took.
    """
    if calls:
        words = sum(len(each.split()) for each in (reasoning, *(call.text() for call in calls)))
        return text, reasoning, "tool_calls", words
    thought, said = reasoning.split(), text.split()
    length = len(thought) + len(said)
    if most is None or length <= most:
        return text, reasoning, "stop", length
    left = most - len(thought)
    if left < 0:
        return "", " ".join(thought[:most]), "length", most
    space = text[: len(text) - len(text.lstrip())]
    return space + " ".join(said[:left]), reasoning, "length", most


def _in_words(plain: Answer, reasoning_format: str, tool_format: str) -> Answer:
    """The answer with what a family writes into its content."""
    text, reasoning, calls = plain.text, plain.reasoning, plain.calls
    if calls and tool_format != "native":
        text, calls = with_calls(tool_format, calls), ()
    elif reasoning_format == "harmony" and not calls:
        text = HARMONY_FINAL + text
    if reasoning and reasoning_format not in ("none", "field"):
        cut = plain.finish_reason == "length" and not plain.text
        text, reasoning = with_reasoning(reasoning_format, reasoning, text, cut=cut), ""
    if text is plain.text:
        return plain
    finish = "stop" if plain.calls and not calls else plain.finish_reason
    return replace(plain, text=text, reasoning=reasoning, calls=calls, finish_reason=finish, marked=True)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

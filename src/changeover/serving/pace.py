"""How fast an engine answers: tokens a second and the time to the first, so many requests at once. `tune` decides by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import msgspec

from changeover.core.errors import UpstreamError
from changeover.serving.upstream import Upstream

PATIENCE_S: Final = 300.0
"""For one answer; a large model on a slow machine takes its time."""
QUESTION: Final = "Count upwards in words from number {number}, one number on each line, and do not stop."
"""Any model goes on for long; the number makes every prompt another one."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    @property
    def says_something(self) -> bool:
        return bool(self.content or self.reasoning_content or self.reasoning)


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list[_Choice])
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One streamed answer."""

    first_s: float
    """From the request to the first piece of text, seconds."""
    seconds: float
    prompt_tokens: int
    tokens: int
    """Of the answer, as the engine counts."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What so many requests at once gave."""

    at_once: int
    seconds: float
    """From the first request to the last answer's end."""
    answers: Sequence[Answered]

    @property
    def tokens_per_s(self) -> float:
        """Of all answers together."""
        return sum(each.tokens for each in self.answers) / self.seconds

    @property
    def first_s(self) -> float:
        """The median time to the first piece of text, seconds."""
        return median(each.first_s for each in self.answers)


async def pace_of(
    upstream: Upstream, *, model: str, at_once: int, requests: int, tokens: int, first: int = 1, before: str = ""
) -> Pace:
    """Ask so many questions, so many of them at once, and take the time.

    Args:
        upstream: Who is asked.
        model: What it calls the model.
        at_once: Requests under way at any time.
        requests: Requests in all.
        tokens: Most tokens of each answer.
        first: Number of the first question: no two with the same number, or the second is read from a cache.
        before: A system prompt.

    Raises:
        ChangeoverError: The engine refused or failed one.
    """
    numbers = iter(range(first, first + requests))

    async def ask() -> list[Answered]:
        return [await answered(upstream, _body(model, number, tokens, before)) for number in numbers]

    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask()) for _ in range(at_once)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    answers = [each for task in asking for each in task.result()]
    return Pace(at_once=at_once, seconds=time.perf_counter() - began, answers=answers)


async def answered(upstream: Upstream, body: Mapping[str, Any]) -> Answered:
    """Send one streamed chat request, and read its answer to the end.

    Raises:
        ChangeoverError: The engine refused or failed it, or counted no tokens.
    """
    began = time.perf_counter()
    first: float | None = None
    usage = _Usage()
    rest = b""
    sent = msgspec.json.encode(body)
    async with upstream.send(
        "/v1/chat/completions", sent, first_byte_s=PATIENCE_S, stall_s=PATIENCE_S, as_is=upstream.model is None
    ) as answer:
        async for piece in answer.chunks():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if not line.startswith(b"data: {"):
                    continue
                event = _decode(line[6:])
                if first is None and any(each.delta.says_something for each in event.choices):
                    first = time.perf_counter() - began
                usage = event.usage or usage
    if first is None or not usage.completion_tokens:
        raise UpstreamError(f"`{upstream.name}` answered without a word, or without counting its tokens.")
    return Answered(
        first_s=first,
        seconds=time.perf_counter() - began,
        prompt_tokens=usage.prompt_tokens,
        tokens=usage.completion_tokens,
    )


def _body(model: str, number: int, tokens: int, before: str) -> Mapping[str, Any]:
    system = [{"role": "system", "content": before}] if before else []
    return {
        "model": model,
        "messages": [*system, {"role": "user", "content": QUESTION.format(number=number)}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }

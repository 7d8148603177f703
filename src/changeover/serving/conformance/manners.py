"""Probes of how an engine behaves with many, with too much, and with strangers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from changeover.core.errors import ContextOverflow, NoTemplateError, RequestError, UpstreamError
from changeover.serving.conformance.outcome import Absent, Beside, Wrong
from changeover.serving.conformance.talk import Streamed, Talk
from changeover.serving.conformance.words import STORY

AT_ONCE = 8
SIDES = 3
"""Streams that must go on beside each other."""
LONG = "Count from 1 to 2000, one number in each line. 1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
MOST_SLOTS = 8
"""With more, not all of an engine's places are taken."""
PIECES = 6
"""Of an answer, after which its caller leaves."""
SHORTEST_S = 2.0
"""Of an answer that is worth hanging up on."""


async def context_refused(talk: Talk) -> str:
    """A prompt that is too long is refused in words that are understood, before any of an answer, streamed or not."""
    most = talk.subject.context_tokens
    if most is None:
        raise Beside("how much it takes is not known: say it as `context_tokens` in its profile")
    text = "fox " * (most + most // 4)
    for ask in (talk.chat, talk.stream):
        try:
            await ask(text, max_tokens=4)
        except ContextOverflow:
            continue
        except NoTemplateError:
            raise
        except RequestError as exc:
            raise Wrong(f"refused in words that are not known to mean this: {exc.message}") from exc
        raise Absent(f"{most + most // 4} words were answered where {most} tokens are all it takes")
    return f"refused beyond {most} tokens"


async def cancels(talk: Talk) -> str:
    """Callers who leave free their places at once: the next answer does not wait for theirs."""
    places = min(talk.subject.slots or 1, MOST_SLOTS)
    most = (talk.subject.context_tokens or 2048) * 3 // 4
    left = await asyncio.gather(*(_leave(Talk(talk.subject), most) for _ in range(places)))
    between = min((each for each in left if each is not None), default=None)
    if between is None or None in left:
        raise Beside("the model ended by itself before anybody could leave")
    whole = between * most
    if whole < SHORTEST_S:
        raise Beside("it answers too quickly for anybody to leave before the end")
    began = time.monotonic()
    await talk.chat(STORY, max_tokens=1)
    waited = time.monotonic() - began
    if waited > whole / 2:
        raise Wrong(f"the next answer took {waited:.1f} s, of {whole:.1f} s that the ones left behind would have")
    return f"the next answer came after {waited:.2f} s, of {whole:.0f} s that those left behind would have taken"


async def _leave(talk: Talk, most: int) -> float | None:
    """Hang up on a long answer after some pieces; seconds between two of them, None if it ended first."""
    arrived: list[float] = []
    events = talk.events(LONG, max_tokens=most)
    try:
        async for event in events:
            if event is None:
                return None
            if Streamed([event], done=False).pieces:
                arrived.append(time.monotonic())
            if len(arrived) == PIECES:
                return (arrived[-1] - arrived[0]) / (PIECES - 1)
    finally:
        await events.aclose()
    return None


async def not_mixed(talk: Talk) -> str:
    """Eight requests at once get each its own answer."""
    if talk.subject.has_grammar:
        await asyncio.gather(*(_own_word(Talk(talk.subject), f"w{7 * n}") for n in range(AT_ONCE)))
        return f"{AT_ONCE} answers, each with its own word"
    asked = [Talk(talk.subject).chat("fox " * (4 * n + 4), max_tokens=2) for n in range(AT_ONCE)]
    counts = [answer.usage.get("prompt_tokens", 0) for answer in await asyncio.gather(*asked)]
    if any(a >= b for a, b in pairwise(counts)):
        raise Wrong(f"longer prompts have not more tokens: {counts}")
    return f"{AT_ONCE} answers, each with its own prompt's tokens"


async def _own_word(talk: Talk, word: str) -> None:
    schema = {"type": "object", "properties": {"word": {"enum": [word]}}, "required": ["word"]}
    shape = {"type": "json_schema", "json_schema": {"name": "w", "schema": {**schema, "additionalProperties": False}}}
    text = (await talk.chat(f"Say {word}.", response_format=shape, max_tokens=40)).text
    if word not in text:
        raise Wrong(f"{text[:60]!r} came where {word!r} belongs")


async def side_by_side(talk: Talk) -> str:
    """Several answers grow at the same time."""
    if talk.subject.slots == 1:
        raise Beside("this deployment has one place")
    order: list[int] = []
    began = time.monotonic()
    await asyncio.gather(*(_follow(Talk(talk.subject), n, order) for n in range(SIDES)))
    took = time.monotonic() - began
    turns = sum(1 for a, b in pairwise(order) if a != b) + 1
    if turns > SIDES:
        return f"{SIDES} streams took {turns} turns"
    if took < SHORTEST_S / 20:
        raise Beside("it answers too quickly to see it")
    raise Absent(f"{SIDES} streams came one after the other")


async def _follow(talk: Talk, number: int, order: list[int]) -> None:
    async for event in talk.events(f"{LONG}{number}", max_tokens=12):
        order += [number] if event is not None and event.get("choices") else []


async def key(talk: Talk) -> str:
    """Who does not know the secret is refused."""
    stranger = talk.subject.stranger
    if stranger is None:
        raise Absent("it asks for no key")
    body = b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}'
    talk.sent = "/v1/chat/completions with a wrong key"
    try:
        answer = await stranger.open("/v1/chat/completions", body, first_byte_s=30, stall_s=30)
    except UpstreamError as exc:
        if exc.upstream_status in (401, 403):
            return f"status {exc.upstream_status}"
        raise
    answer.close()
    raise Absent("anybody is answered")


async def adapters(talk: Talk) -> str:
    """An adapter changes the answers that are asked of it, and none of those after it."""
    adapter = talk.subject.adapter
    if adapter is None:
        raise Beside("no adapter is attached")
    off, on = (
        (talk, adapter.off),
        (Talk(replace(talk.subject, upstream=adapter.at or talk.subject.upstream)), adapter.on),
    )
    said: Sequence[str] = [(await whom.chat(STORY, **fields)).text for whom, fields in (off, on, off, on)]
    if said[0] == said[1]:
        raise Absent("the adapter changes nothing")
    if said[0] != said[2]:
        raise Wrong("the model without it is not what it was before")
    if said[1] != said[3]:
        raise Wrong("the second answer with it is not the first one's")
    return "two answers with it, two without"

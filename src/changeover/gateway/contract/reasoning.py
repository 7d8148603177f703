"""Reading an answer's text: what was thought, what was said, what is a tool call. One generator for each way to write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import regex

from changeover.gateway.contract.source import Found, Markers, Source, Steps, Trimmed
from changeover.gateway.contract.toolcalls import DIALECTS, Tools
from changeover.serving.profiles import Reasoning, ToolCalls

Fresh: TypeAlias = Literal["start", "call", "reasoning"]
"""What stands before a place where nothing was said yet."""
_After: TypeAlias = tuple[Fresh | None, str | None]
"""Such a place, if the next one is, and a marker to go on with, if there is one."""

_THINK = regex.compile(r"<think>")
_SPACE_THINK = regex.compile(r"\s*<think>")
_THOUGHT_END = "</think>"
_CHANNEL = "<|channel>"
_CHANNEL_END = "<channel|>"
_CHANNEL_NAME = regex.compile(r"\w*\n")


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the answers to one request are to be read."""

    reasoning: Reasoning
    opened: bool
    """The text begins within a thought: the template has written its mark."""
    calls: ToolCalls
    """`native` where no call is expected in the text."""
    tools: Tools


def read_answer(source: Source, found: Found, way: Way) -> Steps[None]:
    """Read one choice's text from its beginning to its end."""
    if way.reasoning == "harmony" or way.calls == "harmony":
        yield from _harmony(source, found)
    else:
        yield from _Tagged(source, found, way).read()


class _Tagged:
    """Reads text with thoughts and calls between markers."""

    def __init__(self, source: Source, found: Found, way: Way) -> None:
        self._source, self._found, self._way = source, found, way
        self._dialect = DIALECTS[way.calls]
        self._openings = _openings(way.calls, way.reasoning == "gemma4")

    def read(self) -> Steps[None]:
        source, found, openings = self._source, self._found, self._openings
        fresh: Fresh | None = "start"
        marker: str | None = None
        if self._way.opened:
            yield from source.match(_SPACE_THINK)
            marker = yield from self._thought(_THOUGHT_END)
            fresh = "reasoning"
        while True:
            if fresh is not None and marker is None:
                begun: _After = yield from self._begin(fresh)
                fresh, marker = begun
                if fresh is not None:
                    continue
            if openings is None:
                yield from source.rest(found.content)
                return
            if marker is None:
                marker = yield from source.until(openings.markers, found.content, plain="content")
            if marker is None:
                return
            after: _After = yield from self._opened(marker)
            fresh, marker = after

    def _begin(self, fresh: Fresh) -> Steps[_After]:
        """Read what stands where nothing was said yet: what is before the next such place, and a marker to go on with."""
        source, found = self._source, self._found
        space = yield from source.space()
        if space is None:
            found.content(source.text if fresh == "start" else "")
            source.text = ""
            return None, None
        if fresh == "start" and self._way.reasoning != "none" and (yield from source.match(_THINK)) is not None:
            ended_by = yield from self._thought(_THOUGHT_END)
            return "reasoning", ended_by
        if self._dialect.bare is not None and (yield from self._dialect.bare(source, found, "", self._way.tools)):
            return "call", None
        opening = None if self._openings is None else (yield from source.match(self._openings.pattern))
        if opening is not None:
            return None, opening.group()
        found.content("" if fresh == "reasoning" else space)
        return None, None

    def _opened(self, marker: str) -> Steps[_After]:
        """Read what follows a marker; if that means nothing, the marker was content."""
        if marker == _CHANNEL:
            yield from self._source.match(_CHANNEL_NAME)
            ended_by = yield from self._thought(_CHANNEL_END)
            return "reasoning", ended_by
        if (yield from self._dialect.handlers[marker](self._source, self._found, marker, self._way.tools)):
            return "call", None
        self._found.content(marker)
        return None, None

    def _thought(self, end: str) -> Steps[str | None]:
        """Read a thought, without the white space around it; the marker of a call if one ended it."""
        if (yield from self._source.space()) is None:
            self._source.text = ""
            return None
        ends = _ends(end, self._way.calls)
        marker = yield from self._source.until(ends, Trimmed(self._found.reasoning), plain="reasoning")
        return None if marker == end else marker


@dataclass(frozen=True)
class _Openings:
    markers: Markers
    pattern: regex.Pattern[str]


@lru_cache
def _openings(calls: ToolCalls, channels: bool) -> _Openings | None:
    marks = [*DIALECTS[calls].handlers, *([_CHANNEL] if channels else [])]
    if not marks:
        return None
    by_length = sorted(marks, key=len, reverse=True)
    return _Openings(Markers(marks), regex.compile("|".join(regex.escape(mark) for mark in by_length)))


@lru_cache
def _ends(end: str, calls: ToolCalls) -> Markers:
    dialect = DIALECTS[calls]
    return Markers([end, *(dialect.handlers if dialect.ends_thought else ())])


# Harmony: an answer is a series of messages, each with a header that names its channel and whom it is for.

_START, _CHANNEL_MARK, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_BEGINS = regex.compile(r"(?=<\|(?:start|channel)\|>)")
_OUTSIDE = Markers([_START, _CHANNEL_MARK])
_HEADER = Markers([_START, _CHANNEL_MARK, _MESSAGE, "<|end|>", "<|return|>", "<|call|>"])
_BODY = Markers([_START, _CHANNEL_MARK, "<|end|>", "<|return|>", "<|call|>"])
_RECIPIENT = regex.compile(r"\bto=([^\s<]+)")
_FUNCTIONS = "functions."


def _harmony(source: Source, found: Found) -> Steps[None]:
    space = yield from source.space()
    if space is None or (yield from source.match(_BEGINS)) is None:
        # The engine has read the channels itself.
        found.content(space or "")
        yield from source.rest(found.content)
        return
    said = {found.reasoning: False, found.content: False}
    marker = yield from source.until(_OUTSIDE, found.content)
    while marker is not None:
        header = yield from _header(source, marker)
        if header is None:
            return
        to = _RECIPIENT.search(header["all"])
        if to is not None and to[1].startswith(_FUNCTIONS):
            found.call(to[1].removeprefix(_FUNCTIONS))
            arguments = Trimmed(found.arguments)
            marker = yield from source.until(_BODY, arguments, plain="arguments")
            found.arguments("" if arguments.any or marker is None else "{}")
        else:
            channel = (header["channel"].split() or [""])[0]
            public = channel in ("", "final") or (channel == "commentary" and to is None)
            emit = found.content if public else found.reasoning
            emit("\n" if said[emit] else "")
            said[emit] = True
            marker = yield from source.until(_BODY, emit, plain="content" if public else "reasoning")
        if marker is not None and marker not in (_START, _CHANNEL_MARK):
            marker = yield from source.until(_OUTSIDE, found.content)


def _header(source: Source, marker: str) -> Steps[Mapping[str, str] | None]:
    """Read a header from its first marker to its message; None if the text ended within."""
    all_, channel = list[str](), list[str]()
    while marker != _MESSAGE:
        parts = list[str]()
        following = yield from source.until(_HEADER, parts.append)
        if marker == _CHANNEL_MARK:
            channel = parts
        all_ += [" ", *parts]
        if following is None:
            return None
        marker = following
    return {"all": "".join(all_), "channel": "".join(channel)}

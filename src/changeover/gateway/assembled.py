"""What a stream's events make together: its text, and the message that a whole answer would have had.

Events that cannot be read are left out: this is for counting, checking and recording what was passed on already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from changeover.core.errors import UpstreamError
from changeover.gateway.sse import events, payload


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    text: str | None = None
    """Of a message's delta."""
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    """Of a completion."""
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    choices: list[_Choice] | None = None
    delta: str | _Delta | None = None
    """Of a response, or of a message."""


_NO_TEXT = ("response.function_call_arguments.delta", "response.incomplete")
_decode_all = msgspec.json.Decoder(list[_Event]).decode


def words_in(stream: bytes) -> str:
    """All that a model wrote in a stream, whatever the endpoint, reasoning and arguments included: for counting."""
    found: list[str] = []
    for event in _read(stream):
        found += [
            (choice.text if choice.delta is None else _all_of(choice.delta)) or "" for choice in event.choices or ()
        ]
        if isinstance(event.delta, str):
            found.append(event.delta)
        elif event.delta is not None:
            found.append(event.delta.text or "")
    return "".join(found)


def texts_in(stream: bytes) -> list[str]:
    """The texts of every choice of a chat's or a response's stream; tool calls and what was cut off are left out."""
    texts: dict[int, list[str]] = {}
    without: set[int] = set()
    for event in _read(stream):
        for choice in event.choices or ():
            delta = choice.delta
            texts.setdefault(choice.index, []).append((choice.text if delta is None else delta.content) or "")
            if choice.finish_reason == "length" or (delta is not None and delta.tool_calls):
                without.add(choice.index)
        if event.type == "response.output_text.delta" and isinstance(event.delta, str):
            texts.setdefault(0, []).append(event.delta)
        elif event.type in _NO_TEXT:
            without.add(0)
    return ["".join(parts) for index, parts in texts.items() if index not in without]


def _all_of(delta: _Delta) -> str:
    called = [piece.function.arguments or "" for piece in delta.tool_calls or () if piece.function is not None]
    return "".join([delta.reasoning_content or "", delta.content or "", *called])


def finish_in(stream: bytes) -> str | None:
    """Why the first choice of a chat's stream ended, as the engine says it."""
    for event in _read(stream):
        for choice in event.choices or ():
            if choice.index == 0 and choice.finish_reason is not None:
                return choice.finish_reason
    return None


def message_in(stream: bytes) -> dict[str, Any]:
    """The assistant's message that a stream's deltas make together, of the first choice; tool calls included."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    for event in _read(stream):
        if not event.choices:
            if event.delta is not None:
                text.append((event.delta if isinstance(event.delta, str) else event.delta.text) or "")
            continue
        choice = event.choices[0]
        delta = choice.delta
        if delta is None:
            text.append(choice.text or "")
            continue
        if delta.content:
            text.append(delta.content)
        if delta.reasoning_content:
            reasoning.append(delta.reasoning_content)
        for piece in delta.tool_calls or ():
            _add_call(calls, piece)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text)}
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    return message


def _add_call(calls: dict[int, dict[str, Any]], piece: _Call) -> None:
    call = calls.setdefault(piece.index, {"function": {"name": "", "arguments": ""}})
    if piece.id:
        call["id"] = piece.id
    if piece.type:
        call["type"] = piece.type
    if piece.function is not None:
        call["function"]["name"] += piece.function.name or ""
        call["function"]["arguments"] += piece.function.arguments or ""


def _read(stream: bytes) -> Sequence[_Event]:
    """The events. All at once where every one is a line of JSON of the usual shape, which costs a tenth; else one by one."""
    parts = stream.split(b"\n\n")
    if all(part.startswith(b"data: ") for part in parts if part):
        lines = [part[6:] for part in parts if part and part != b"data: [DONE]"]
        try:
            return _decode_all(b"[%b]" % b",".join(lines))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return list(_one_by_one(stream))


def _one_by_one(stream: bytes) -> Iterator[_Event]:
    for event in events(stream):
        try:
            fields = payload(event)
        except UpstreamError:
            return  # the stream broke off here; what came before stands
        if fields is not None:
            try:
                yield msgspec.convert(fields, _Event)
            except msgspec.ValidationError:
                continue

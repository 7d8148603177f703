"""Calls whose arguments are JSON as it stands: hermes, Kimi's, DeepSeek's, and bare JSON where a prompt asked for it."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import regex

from changeover.gateway.contract.source import Emit, Found, Markers, Source, Steps, Trimmed
from changeover.gateway.contract.toolcalls.tools import Tools

_encode = msgspec.json.Encoder().encode

BAR = "\uff5c"
"""The bar of full width that DeepSeek's markers are written with."""

_NAME_FIRST = r'\{\s*"name"\s*:\s*"(?P<name>[^"\\]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
_HERMES_HEAD = regex.compile(r"\s*" + _NAME_FIRST)
_HERMES_TAIL = regex.compile(r"\s*\}\s*</tool_call>")
_HERMES_END = Markers(["</tool_call>"])
_OBJECT = regex.compile(r"\s*\{")
_CLOSE = regex.compile(r"\s*\}")

_BARE_HEAD = regex.compile(r"(?P<fence>```(?:json)?\s*)?" + _NAME_FIRST)
_FENCE = regex.compile(r"\s*```")

_KIMI_CALL = (
    r"\s*(?P<id>(?:functions\.)?(?P<name>[^\s<:]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>\s*(?=\S)"
)  # fmt: skip
KIMI_OPENS = ("<|tool_calls_section_begin|>", "<|tool_call_begin|>")
_KIMI_HEADS = {
    KIMI_OPENS[0]: regex.compile(r"\s*<\|tool_call_begin\|>" + _KIMI_CALL),
    KIMI_OPENS[1]: regex.compile(_KIMI_CALL),
}
_KIMI_END = Markers(["<|tool_call_end|>"])
_KIMI_CLOSE = regex.compile(r"\s*<\|tool_calls_section_end\|>")

DEEPSEEK_OPENS = (f"<{BAR}tool▁calls▁begin{BAR}>", f"<{BAR}tool▁call▁begin{BAR}>")
# The older form names the kind, then the tool, and fences the JSON; the newer one names the tool and has the JSON bare.
_DEEPSEEK_CALL = (
    rf"\s*(?:function<{BAR}tool▁sep{BAR}>(?P<name>[^\n<]+)\n```(?:json)?\n\s*(?=\S)"
    rf"|(?!function<{BAR}tool▁sep{BAR}>)(?P<bare>[^\n<]+)<{BAR}tool▁sep{BAR}>\s*(?=\S))"
)
_DEEPSEEK_HEADS = {
    DEEPSEEK_OPENS[0]: regex.compile(rf"\s*<{BAR}tool▁call▁begin{BAR}>" + _DEEPSEEK_CALL),
    DEEPSEEK_OPENS[1]: regex.compile(_DEEPSEEK_CALL),
}
_DEEPSEEK_END = Markers([f"```<{BAR}tool▁call▁end{BAR}>", f"<{BAR}tool▁call▁end{BAR}>"])
_DEEPSEEK_CLOSE = regex.compile(rf"\s*<{BAR}tool▁calls▁end{BAR}>")


def hermes(source: Source, found: Found, _opened: str, _tools: Tools) -> Steps[bool]:
    """Read `{"name": …, "arguments": {…}}</tool_call>`."""
    head = yield from source.match(_HERMES_HEAD)
    if head is None:
        return (yield from _hermes_whole(source, found))
    found.call(head["name"])
    if (yield from balanced(source, found.arguments)) and (yield from source.match(_HERMES_TAIL)) is None:
        yield from source.match(_CLOSE)
    return True


def _hermes_whole(source: Source, found: Found) -> Steps[bool]:
    """The same in any other order or spelling, which can only be read as a whole."""
    if (yield from source.match(_OBJECT, take=False)) is None:
        return False
    end = yield from source.ahead(_HERMES_END)
    at, marker = end or (len(source.text), "")
    try:
        call: Any = msgspec.json.decode(source.text[:at])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    fields = cast("dict[str, Any]", call) if isinstance(call, dict) else {}
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if not isinstance(name, str) or not name:
        return False
    found.call(name)
    found.arguments(arguments if isinstance(arguments, str) else _encode(arguments).decode())
    source.text = source.text[at + len(marker) :]
    return True


def bare(source: Source, found: Found, _opened: str, tools: Tools) -> Steps[bool]:
    """Read the JSON object that the prompt asked for, alone or fenced; only the name of a known tool makes it a call."""
    head = yield from source.match(_BARE_HEAD, take=False)
    if head is None or head["name"] not in tools:
        return False
    source.text = source.text[head.end() :]
    found.call(head["name"])
    if (yield from balanced(source, found.arguments)):
        yield from source.match(_CLOSE)
        if head["fence"]:
            yield from source.match(_FENCE)
    return True


def kimi(source: Source, found: Found, opened: str, _tools: Tools) -> Steps[bool]:
    """Read calls with ids of their own, `functions.NAME:INDEX`, which have to come back as they are."""
    head = yield from source.match(_KIMI_HEADS[opened])
    while head is not None:
        found.call(head["name"], head["id"])
        yield from _until(source, found, _KIMI_END)
        if (yield from source.match(_KIMI_CLOSE)) is not None:
            return True
        following = yield from source.match(_KIMI_HEADS[KIMI_OPENS[0]])
        if following is None:
            return True
        head = following
    return False


def deepseek(source: Source, found: Found, opened: str, _tools: Tools) -> Steps[bool]:
    """Read calls of DeepSeek V3, R1 and V3.1."""
    head = yield from source.match(_DEEPSEEK_HEADS[opened])
    while head is not None:
        found.call((head["name"] or head["bare"]).strip())
        yield from _until(source, found, _DEEPSEEK_END)
        if (yield from source.match(_DEEPSEEK_CLOSE)) is not None:
            return True
        following = yield from source.match(_DEEPSEEK_HEADS[DEEPSEEK_OPENS[0]])
        if following is None:
            return True
        head = following
    return False


def balanced(source: Source, emit: Emit) -> Steps[bool]:
    """Emit one JSON object or array, however it is nested; False if the text ended within."""
    depth, in_text, escaped = 0, False, False
    while True:
        for place, letter in enumerate(source.text):
            if escaped:
                escaped = False
            elif in_text:
                escaped, in_text = letter == "\\", letter != '"'
            elif letter == '"':
                in_text = True
            elif letter in "{[":
                depth += 1
            elif letter in "}]":
                depth -= 1
                if depth == 0:
                    emit(source.text[: place + 1])
                    source.text = source.text[place + 1 :]
                    return True
        emit(source.text)
        source.text = ""
        if not (yield from source.more()):
            return False


def _until(source: Source, found: Found, end: Markers) -> Steps[None]:
    emit = Trimmed(found.arguments)
    marker = yield from source.until(end, emit, plain="arguments")
    if marker is not None and not emit.any:
        found.arguments("{}")

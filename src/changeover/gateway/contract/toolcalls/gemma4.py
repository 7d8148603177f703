"""Gemma 4's calls: `call:NAME{key:<|"|>text<|"|>,n:1}`, a notation that is nearly JSON. They are read as a whole."""

from __future__ import annotations

from typing import Any

import msgspec
import regex

from changeover.gateway.contract.source import Found, Markers, Source, Steps
from changeover.gateway.contract.toolcalls.tools import Tools

OPEN = "<|tool_call>"
_QUOTE = '<|"|>'
_HEAD = regex.compile(r"\s*call:\s*(?P<name>[\w.\-]+)\s*\{")
_END = Markers(["<tool_call|>", "<|tool_response>"])
_SCALAR = regex.compile(r'[^,{}\[\]"]+')
_KEY = regex.compile(r"\s*(?P<key>[^\s:,{}\"<]+)\s*:")
_MOST_NESTED = 64


def gemma4(source: Source, found: Found, _opened: str, _tools: Tools) -> Steps[bool]:
    """Read one call; False if it is none, with nothing taken."""
    head = yield from source.match(_HEAD, take=False)
    if head is None:
        return False
    end = yield from source.ahead(_END)
    at, marker = end or (len(source.text), "")
    try:
        arguments, after = _object(source.text, head.end() - 1, 0)
    except (ValueError, IndexError):
        return False
    if source.text[after:at].strip():
        return False
    found.call(head["name"])
    found.arguments(msgspec.json.encode(arguments).decode())
    source.text = source.text[at + len(marker) :]
    return True


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    """Read `{key:value,…}` at a place; the value, and the place after it. ValueError and IndexError: it is none."""
    if depth > _MOST_NESTED:
        raise ValueError("nested too deeply")
    found: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _key(text, at)
        found[key], at = _value(text, _skip(text, at), depth)
        at = _separator(text, at, "}")
    return found, at + 1


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > _MOST_NESTED:
        raise ValueError("nested too deeply")
    found: list[Any] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        value, at = _value(text, at, depth)
        found.append(value)
        at = _separator(text, at, "]")
    return found, at + 1


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    if text.startswith(_QUOTE, at):
        end = text.index(_QUOTE, at + len(_QUOTE))
        return text[at + len(_QUOTE) : end], end + len(_QUOTE)
    if text[at] == '"':
        return _json_text(text, at)
    if text[at] == "{":
        return _object(text, at, depth + 1)
    if text[at] == "[":
        return _array(text, at, depth + 1)
    scalar = _SCALAR.match(text, at)
    if scalar is None:
        raise ValueError("no value")
    word = scalar.group().strip()
    try:
        return msgspec.json.decode(word), scalar.end()
    except msgspec.DecodeError:
        return word, scalar.end()


def _key(text: str, at: int) -> tuple[str, int]:
    if text.startswith(_QUOTE, at):
        end = text.index(_QUOTE, at + len(_QUOTE))
        colon = _skip(text, end + len(_QUOTE))
        key = text[at + len(_QUOTE) : end]
    elif text[at] == '"':
        key, colon = _json_text(text, at)
        colon = _skip(text, colon)
    else:
        found = _KEY.match(text, at)
        if found is None:
            raise ValueError("no key")
        return found["key"], found.end()
    if text[colon] != ":":
        raise ValueError("no colon")
    return key, colon + 1


def _json_text(text: str, at: int) -> tuple[str, int]:
    end = at + 1
    while text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    return msgspec.json.decode(text[at : end + 1], type=str), end + 1


def _separator(text: str, at: int, closing: str) -> int:
    at = _skip(text, at)
    if text[at] == ",":
        return _skip(text, at + 1)
    if text[at] != closing:
        raise ValueError("no separator")
    return at


def _skip(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at

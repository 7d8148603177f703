"""What earlier answers' reasoning a model is shown: nothing, all, or only that of the tool calls it is in the middle of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import regex

from changeover.serving.profiles import Profile

Message = dict[str, Any]

_FIELDS = ("reasoning_content", "reasoning")
_INLINE = regex.compile(r"\s*<think>(?P<thought>.*?)</think>\s*", regex.DOTALL)
_OPENED = regex.compile(r"(?:(?!<think>).)*?</think>\s*", regex.DOTALL)


def with_history(profile: Profile, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with as much reasoning as the model is to see; the same object if nothing changes."""
    from_here = _kept_from(profile, messages)
    changed: list[Message] | None = None
    for place, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        new = _kept(profile, message) if place >= from_here else _stripped(profile, message)
        if new is not message:
            changed = changed if changed is not None else list(messages)
            changed[place] = new
    return messages if changed is None else changed


def _kept_from(profile: Profile, messages: Sequence[Message]) -> int:
    """The first place whose reasoning is kept."""
    if profile.reasoning_history == "keep":
        return 0
    if profile.reasoning_history == "keep_between_tool_calls":
        last_user = max((n for n, each in enumerate(messages) if each.get("role") == "user"), default=-1)
        if any(each.get("role") == "tool" for each in messages[last_user + 1 :]):
            return last_user + 1
    return len(messages)


def _stripped(profile: Profile, message: Message) -> Message:
    new = message
    if "reasoning_content" in message or "reasoning" in message:
        new = {key: value for key, value in message.items() if key not in _FIELDS}
    content = message.get("content")
    if isinstance(content, str) and "</think>" in content:
        rest = _without_thought(profile, content)
        if rest != content:
            new = {**new, "content": rest}
    return new


def _without_thought(profile: Profile, content: str) -> str:
    """Content without the thought at its beginning; a mark further on is something the answer speaks about."""
    found = _INLINE.match(content)
    if found is None and profile.reasoning == "think_open":
        found = _OPENED.match(content)
    return content if found is None else content[found.end() :]


def _kept(profile: Profile, message: Message) -> Message:
    """The message with its reasoning under the name that the engine takes."""
    named = profile.reasoning_field
    thought = next((message[field] for field in (named, *_FIELDS) if message.get(field)), None)
    if thought is None or (message.get(named) == thought and not _has_other(message, named)):
        return message
    rest: Mapping[str, Any] = {key: value for key, value in message.items() if key not in _FIELDS}
    return {**rest, named: thought}


def _has_other(message: Message, named: str) -> bool:
    return any(field in message for field in _FIELDS if field != named)

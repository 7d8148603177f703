"""Roles that a model may not know: `developer`, and system messages where there is no such role or place for one only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from changeover.serving.profiles import Profile

Message = dict[str, Any]


def with_roles(profile: Profile, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages in roles that the model knows; the same object if nothing changes."""
    if any(each.get("role") == "developer" for each in messages):
        messages = [{**each, "role": "system"} if each.get("role") == "developer" else each for each in messages]
    if profile.system_role == "yes":
        return messages
    system = [each for each in messages if each.get("role") == "system"]
    if not system or (profile.system_role == "one" and len(system) == 1 and messages[0] is system[0]):
        return messages
    others = [each for each in messages if each.get("role") != "system"]
    text = "\n\n".join(words for each in system if (words := _text(each.get("content"))))
    if profile.system_role == "one":
        return [{"role": "system", "content": text}, *others]
    return _before_first_user(text, others)


def with_system(messages: Sequence[Message], text: str) -> Sequence[Message]:
    """The messages with a text added to the system message at their beginning, or in one of its own."""
    first = messages[0] if messages else {}
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    content = first.get("content")
    if isinstance(content, list):
        joined: Any = [*cast("list[Any]", content), {"type": "text", "text": text}]
    else:
        joined = f"{content}\n\n{text}" if content else text
    return [{**first, "content": joined}, *messages[1:]]


def _before_first_user(text: str, messages: Sequence[Message]) -> Sequence[Message]:
    if not text:
        return messages
    for place, message in enumerate(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):
            joined: Any = [{"type": "text", "text": text}, *cast("list[Any]", content)]
        else:
            joined = f"{text}\n\n{content}" if content else text
        return [*messages[:place], {**message, "content": joined}, *messages[place + 1 :]]
    return [{"role": "user", "content": text}, *messages]


def _text(content: Any) -> str:
    """The words of a message's content; parts that are no text are left out: a system message has none."""
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, list) else []
    words = [cast("dict[str, Any]", part).get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(each for each in words if isinstance(each, str))

"""One `reasoning_effort` in, a family's own toggle out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from changeover.serving.profiles import Effort, Profile

_LADDER: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_OFF: Final = frozenset({"none", "minimal"})
"""Where thinking can only be on or off, these are off."""
_BUDGETS: Final[Mapping[str, int]] = {"low": 1024, "medium": 4096}
"""Tokens to think with, where there is a budget. Our own choice; from `high` on there is none."""
_IN_TEMPLATE: Final[Mapping[Effort, str]] = {"enable_thinking": "enable_thinking", "thinking": "thinking"}
_TOP_LEVEL: Final[frozenset[Effort]] = frozenset({"top_level_enable_thinking", "thinking_budget"})


def with_effort(profile: Profile, body: dict[str, Any]) -> dict[str, Any]:
    """The body with `reasoning_effort` put as the engine takes it. A toggle that the caller set himself stays."""
    effort = body.get("reasoning_effort")
    if effort is None:
        return body
    if profile.effort == "field":
        named = _nearest(effort, profile.effort_values)
        return body if named == effort else {**body, "reasoning_effort": named}
    changed = {key: value for key, value in body.items() if key != "reasoning_effort"}
    if not isinstance(effort, str) or effort not in _LADDER:
        return changed
    on = effort not in _OFF
    toggle = _IN_TEMPLATE.get(profile.effort)
    if toggle is not None:
        changed["chat_template_kwargs"] = {toggle: on, **_template(body)}
    elif profile.effort in _TOP_LEVEL:
        changed.setdefault("enable_thinking", on)
        if on and effort in _BUDGETS and profile.effort == "thinking_budget":
            changed.setdefault("thinking_budget", _BUDGETS[effort])
    return changed


def thinks(profile: Profile, body: Mapping[str, Any]) -> bool:
    """Whether the model will reason on this request, by its toggles and what it does without them.

    Args:
        profile: The model's.
        body: As the caller sent it, or as `with_effort` left it.
    """
    if profile.thinks == "always":
        return True
    template = _template(body)
    for said in (template.get("enable_thinking"), template.get("thinking"), body.get("enable_thinking")):
        if isinstance(said, bool):
            return said
    effort = body.get("reasoning_effort")
    if isinstance(effort, str) and effort in _LADDER and profile.effort != "none":
        return effort not in _OFF
    return profile.thinks == "unless_off"


def _template(body: Mapping[str, Any]) -> Mapping[str, Any]:
    given = body.get("chat_template_kwargs")
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}


def _nearest(effort: Any, known: tuple[str, ...]) -> Any:
    """The value that the engine knows and that is nearest on the ladder; of two, the greater."""
    if not known or effort in known or effort not in _LADDER:
        return effort
    at = _LADDER.index(effort)
    return min(known, key=lambda each: (abs(_LADDER.index(each) - at), -_LADDER.index(each)))

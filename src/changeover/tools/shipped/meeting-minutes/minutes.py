"""Joins the minutes of a transcript's parts. Nothing is added: what nobody said is taken out."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any


def join(notes: list[dict[str, Any]], transcript: str) -> dict[str, Any]:
    """Make one set of minutes of several.

    Args:
        notes: Of each part, an object with `decisions`, `actions` and `open_questions`.
        transcript: All that was said.
    """
    said = _folded(transcript)
    decisions: list[str] = []
    actions: list[dict[str, Any]] = []
    questions: list[str] = []
    for note in notes:
        decisions += [_one_line(text) for text in note["decisions"]]
        questions += [_one_line(text) for text in note["open_questions"]]
        actions += [_action(action, said) for action in note["actions"]]
    return {
        "decisions": _once(decisions, str),
        "actions": _once(actions, _what),
        "open_questions": _once(questions, str),
    }


def _what(action: dict[str, Any]) -> str:
    return str(action["what"])


def _action(action: dict[str, Any], said: str) -> dict[str, Any]:
    return {
        "what": _one_line(action["what"]),
        "owner": _said_only(action["owner"], said),
        "due": _said_only(action["due"], said),
    }


def _said_only(text: object, said: str) -> str | None:
    """A name or a date, where every word of it was said; else None."""
    words = re.findall(r"\w+", _folded(str(text or "")))
    return _one_line(str(text)) if words and all(word in said for word in words) else None


def _once(items: list[Any], text_of: Callable[[Any], str]) -> list[Any]:
    """Items in their order, without empty ones and those whose words another has already."""
    kept: list[Any] = []
    seen: list[set[str]] = []
    for item in items:
        words = set(re.findall(r"\w+", _folded(text_of(item))))
        if words and not any(len(words & other) >= 0.8 * min(len(words), len(other)) for other in seen):
            kept.append(item)
            seen.append(words)
    return kept


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()

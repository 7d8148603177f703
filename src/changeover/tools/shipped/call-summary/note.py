"""Makes a note of what the model wrote, in the shape that the tool promises, whichever model it was."""

import json
import re
from typing import Any, cast

NO_REASON = "–"
MOODS = ("satisfied", "neutral", "dissatisfied", "angry")
_ASKED = """
    write in one sentence why this customer called name the goods and any order numbers and sums
    one sentence why the customer called with order numbers and sums
    list what both sides agreed on each in a few words what was offered and refused was not agreed
    what was agreed each in a few words
    list what is still to be done what who does it and by when as it was said
"""
"""What the task's prompt asks for: small models give it back as if it were the answer."""


def read(note: str, transcript: str) -> dict[str, Any]:
    """The note: what is missing is empty, what is too long is cut, days and figures that nobody said are left out."""
    try:
        written: Any = json.loads(note)
    except ValueError:
        written = {"reason": note}
    fields = cast("dict[str, Any]", written) if isinstance(written, dict) else {}
    follow_ups: list[dict[str, str]] = []
    for given in _list(fields.get("follow_ups")):
        step = cast("dict[str, Any]", given) if isinstance(given, dict) else {"what": given}
        what, by = _text(step.get("what")), _text(step.get("by"))
        if what and _was_said(what, transcript):
            follow_ups.append(
                {"what": what, "who": _text(step.get("who")), "by": by if _was_said(by, transcript) else ""}
            )
    agreed = [text for given in _list(fields.get("agreed")) if (text := _text(given)) and _was_said(text, transcript)]
    mood = fields.get("sentiment")
    return {
        "reason": _text(fields.get("reason")) or NO_REASON,
        "agreed": agreed,
        "follow_ups": follow_ups,
        "sentiment": mood if mood in MOODS else "neutral",
    }


def problem(value: dict[str, Any]) -> str | None:
    """What a note lacks; None if nothing."""
    return "the model gave no reason for the call; read the transcript" if value["reason"] == NO_REASON else None


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value)[:20] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A text on one line; empty where it only repeats what was asked for."""
    text = " ".join(value.split())[:300] if isinstance(value, str) else ""
    words = " ".join(re.findall(r"\w+", text.lower()))
    return "" if len(words.split()) > 2 and f" {words} " in " ".join(["", *_ASKED.split(), ""]) else text


def _was_said(text: str, transcript: str) -> bool:
    """Whether every number of a text stands in the transcript."""
    said = set(re.findall(r"\d+", transcript))
    return all(number in said for number in re.findall(r"\d+", text))

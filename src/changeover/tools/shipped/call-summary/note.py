"""Makes a note of what the model wrote, in the shape that the tool promises, whichever model it was."""

import json
import re
from typing import Any, cast

MOODS = ("satisfied", "neutral", "dissatisfied", "angry")


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
        "reason": _text(fields.get("reason")) or "–",
        "agreed": agreed,
        "follow_ups": follow_ups,
        "sentiment": mood if mood in MOODS else "neutral",
    }


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value)[:20] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return " ".join(value.split())[:300] if isinstance(value, str) else ""


def _was_said(text: str, transcript: str) -> bool:
    """Whether every number of a text stands in the transcript."""
    said = set(re.findall(r"\d+", transcript))
    return all(number in said for number in re.findall(r"\d+", text))

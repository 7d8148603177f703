"""Shortens a log for a model, and reads what the model says of it."""

from __future__ import annotations

import json
import re
from typing import Any, cast

_MOST = 6_000
_AROUND, _LAST = 2, 15
_COMPLAINS = re.compile(
    r"\b(?:error|err|warn(?:ing)?|fatal|critical|crit|severe|panic|exception|traceback|fail(?:ed|ure)?|refused|denied"
    r"|timed? ?out|killed|oom|abort(?:ed)?|fehler|errore|erreur)\b|エラー|失敗|警告",
    re.IGNORECASE,
)
_MOST_QUOTES = 3


def shorten(log: str) -> str:
    """The log, or of a long one the lines that complain, those around them, and the last ones; `…` where some are missing."""
    if len(log) <= _MOST:
        return log
    lines = [line[:400] for line in log.split("\n")]
    wanted = set(range(max(0, len(lines) - _LAST), len(lines)))
    size = sum(len(lines[number]) for number in wanted)
    for number in (number for number, line in enumerate(lines) if _COMPLAINS.search(line)):
        near = set(range(max(0, number - _AROUND), min(len(lines), number + _AROUND + 1))) - wanted
        size += sum(len(lines[each]) + 1 for each in near)
        if size > _MOST:
            break
        wanted |= near
    kept: list[str] = []
    for place, number in enumerate(ordered := sorted(wanted)):
        if number and (not place or number != ordered[place - 1] + 1):
            kept.append("…")
        kept.append(lines[number])
    return "\n".join(kept)


def problem(value: str) -> str | None:
    """What is wrong with an answer; None if it explains something."""
    try:
        read(value, "")
    except ValueError as exc:
        return str(exc)
    return None


def read(answer: str, log: str) -> dict[str, Any]:
    """What the answer says, with those of its quotes that stand in the log, and the numbers of their lines.

    Raises:
        ValueError: It is no explanation.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        value: object = json.loads(answer[start : end + 1])
    except ValueError as exc:
        raise ValueError("it is no explanation in JSON") from exc
    said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    texts = {key: " ".join(str(said.get(key) or "").split()) for key in ("what", "cause", "next_step")}
    if not texts["what"]:
        raise ValueError("it does not say what happened")
    listed: object = said.get("quotes")
    given = cast("list[Any]", listed) if isinstance(listed, list) else []
    quotes = list(dict.fromkeys(each.strip() for each in given if isinstance(each, str) and each.strip()))
    lines = log.split("\n")
    found = {quote: number for quote in quotes if (number := _line_of(quote, lines))}
    kept = list(found)[:_MOST_QUOTES]
    return {**texts, "quotes": kept, "lines": [found[quote] for quote in kept]}


def _line_of(quote: str, lines: list[str]) -> int | None:
    return next((number for number, line in enumerate(lines, 1) if quote in line), None)

"""Reading a judge's reply. Small judges write prose around their verdict, or instead of it; what is unclear is None."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Literal, cast

Place = Literal["first", "second", "tie"]

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_PLACES: dict[str, Place] = {"a": "first", "b": "second", "tie": "tie"}

_VERDICT_KEYS = ("better", "winner", "verdict", "preferred", "choice", "best")
_SCORE_KEYS = ("score", "level", "rating", "grade")

_ANSWER = r"(?:the\s+)?(?:first\s+|second\s+)?(?:answer|response|assistant)?\s*:?\s*[\"'*`\[(]*"
_LABEL = r"(?P<place>A|B)(?!\w|['\u2019]s\b)"
_TIE = r"(?P<tie>tie|tied|draw|neither|both)\b"
_EITHER = rf"(?:{_ANSWER}{_LABEL}|{_TIE})"
_SAID = [
    re.compile(rf"\A\W*{_EITHER}[\"'*`\])]*(?:\s+is\s+better)?\W*\Z", re.IGNORECASE),
    re.compile(rf"[\"'*`]?\b(?:{'|'.join(_VERDICT_KEYS)})\b[\"'*`]*\s*(?:is\s*:|:|=|is)\s*{_EITHER}", re.IGNORECASE),
    re.compile(rf"\bbetter\s+(?:answer|response|one)\s*(?:is\s*:|:|=|is)\s*{_EITHER}", re.IGNORECASE),
    re.compile(r"\[\[(?P<place>A|B)\]\]"),
    re.compile(
        rf"\b{_ANSWER}{_LABEL}[\"'*`\])]*\s+(?:is|was|seems|wins\s+as)\s+(?:(?:clearly|slightly|much|far|overall|the"
        r"|a\s+bit|a\s+little|marginally|significantly)\s+)*(?:better|best|stronger|preferable|superior)\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_ANSWER}{_LABEL}[\"'*`\])]*\s+wins\b", re.IGNORECASE),
    re.compile(rf"\bI\s+(?:would\s+)?(?:prefer|choose|pick)\s+{_EITHER}", re.IGNORECASE),
    re.compile(r"\b(?P<tie>it(?:\s+is|['\u2019]s)\s+a\s+(?:tie|draw)|(?:are|is)\s+equally\s+good)\b", re.IGNORECASE),
]
_NUMBER = r"(?P<number>\d+(?:\.\d+)?)(?![\d.]*\d)"
_SCORED = [
    re.compile(rf"\A\W*{_NUMBER}(?:\s*(?:/|out\s+of)\s*(?P<highest>\d+))?\W*\Z", re.IGNORECASE),
    re.compile(
        rf"[\"'*`]?\b(?:{'|'.join(_SCORE_KEYS)})\b[\"'*`]*\s*(?::|=|is|of)?\s*[\"'*`]*(?:level\s+)?{_NUMBER}"
        r"(?:\s*(?:/|out\s+of)\s*(?P<highest>\d+))?",
        re.IGNORECASE,
    ),
    re.compile(rf"{_NUMBER}\s*(?:/|out\s+of)\s*(?P<highest>\d+)", re.IGNORECASE),
]


def read_verdict(reply: str) -> Place | None:
    """Which place a reply prefers; None where it does not say, or says two things.

    JSON counts before prose. A template that was copied, with all choices in it, is no verdict.
    """
    text = _THOUGHT.sub("", reply)
    found: set[Place] = {place for each in _objects(text) if (place := _verdict_in(each)) is not None}
    if not found:
        matches = (match for pattern in _SAID for match in pattern.finditer(text))
        found = {place for match in matches for place in _meant(match, text)}
    return found.pop() if len(found) == 1 else None


def read_score(reply: str, highest: int) -> float | None:
    """The level, 1 to `highest`, that a reply gives; None where it gives none, one off the scale, or several."""
    text = _THOUGHT.sub("", reply)
    found = {score for each in _objects(text) if (score := _score_in(each)) is not None}
    if not found:
        matches = (match for pattern in _SCORED for match in pattern.finditer(text))
        found = {_on_scale(match, highest) for match in matches}
    score = found.pop() if len(found) == 1 else math.nan
    return score if 1.0 <= score <= highest else None


def read_reason(reply: str) -> str:
    """The reason that a reply gives, or the reply; at most 300 characters."""
    text = _THOUGHT.sub("", reply).strip()
    reasons = (each.get("reason") for each in _objects(text))
    reason = next((reason for reason in reasons if isinstance(reason, str) and reason.strip()), text)
    return " ".join(reason.split())[:300]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects in a text, the outermost ones."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at != -1:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield cast("dict[str, Any]", value)
        at = text.find("{", end)


def _verdict_in(fields: dict[str, Any]) -> Place | None:
    said = next((fields[key] for key in _VERDICT_KEYS if isinstance(fields.get(key), str)), None)
    if said is None:
        return None
    word = re.sub(r"^(?:answer|response|assistant)[\s_-]*|[\"'.\[\]()*`\s]", "", said.strip().casefold())
    return _PLACES.get({"draw": "tie", "equal": "tie", "neither": "tie", "both": "tie"}.get(word, word))


def _score_in(fields: dict[str, Any]) -> float | None:
    said = next((fields[key] for key in _SCORE_KEYS if key in fields), None)
    if isinstance(said, str):
        match = re.fullmatch(rf"\s*{_NUMBER}\s*", said)
        return float(match["number"]) if match else None
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else None


def _meant(match: re.Match[str], text: str) -> Iterator[Place]:
    groups = match.groupdict()
    if groups.get("tie"):
        yield "tie"
    # "A or B or tie" is the question, repeated. Lower-case "a" is an article.
    elif groups["place"] in ("A", "B") and not re.match(
        r"[\"'*`\])]*\s*(?:,|/|\||or\b)\s*(?:[AB]\b|tie)", text[match.end() :]
    ):
        yield _PLACES[groups["place"].casefold()]


def _on_scale(match: re.Match[str], highest: int) -> float:
    """The number, or not a number where it is counted out of something else than the scale."""
    of = match.group("highest")
    return float(match.group("number")) if of is None or int(of) == highest else math.nan

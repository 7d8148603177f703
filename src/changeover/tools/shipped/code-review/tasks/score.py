"""Scores a review by whether it finds the fault that was put into the code."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.scorers import Score

_WORDS_ALONE = 0.6
_LINE_ALONE = 0.2


def score(answer: Answer, sample: Sample) -> Score:
    """1 if a finding names the fault, on its line or next to it; 0.6 for the fault elsewhere; 0.2 for the line alone.

    A target has `lines`, where the fault may be said to be, and `words`, of which any names it. Without lines nothing
    is wrong with the code: then the score is 1 for no finding but `low` ones, else 0. `forbidden`: words that score 0.
    """
    target = cast("dict[str, Any]", sample.target)
    try:
        findings: list[dict[str, Any]] = json.loads(answer.text)["findings"]
        said = [(int(each["line"]), f"{each['what']} {each['why']}", each["severity"]) for each in findings]
    except (ValueError, KeyError, TypeError):
        return Score(value=0.0, detail={"reason": "no JSON of the wanted shape"})
    for word in target.get("forbidden", []):
        if _states(answer.text, [word]):
            return Score(value=0.0, detail={"reason": f"says what is forbidden: {word}"})
    if not target["lines"]:
        loud = [line for line, _, severity in said if severity != "low"]
        return Score(value=float(not loud), detail={"false_alarms": [*loud]})
    best = 0.0
    for line, text, _ in said:
        near = any(abs(line - right) <= 1 for right in target["lines"])
        named = _states(text, target["words"])
        best = max(best, 1.0 if near and named else _WORDS_ALONE if named else _LINE_ALONE if near else 0.0)
    return Score(value=best, detail={"findings": len(said)})


def _states(text: str, words: list[str]) -> bool:
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}", text.lower()) for word in words)

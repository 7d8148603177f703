"""Scores whether an explanation leads to the answer; whether the answer is right is another scorer's."""

from __future__ import annotations

import json
import re
from typing import Any

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample

_NUMBER = r"\d+(?:[.,]\d+)?"


def leads(answer: Answer, sample: Sample) -> float:
    """1 if there are two steps or more and the first does not come to the answer's number, else a half; 0: no JSON."""
    del sample
    try:
        said: dict[str, Any] = json.loads(answer.text)
        steps, final = [str(step) for step in said["steps"]], str(said["answer"])
    except (ValueError, KeyError, TypeError):
        return 0.0
    number = re.search(_NUMBER, final)
    told = bool(number and steps and re.search(rf"=\s*{re.escape(number[0])}(?![\d.,]*\d)", steps[0]))
    return 0.5 if told or len(steps) < 2 else 1.0

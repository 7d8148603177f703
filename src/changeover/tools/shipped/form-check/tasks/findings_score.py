"""Scores what was found in a form."""

from __future__ import annotations

import json
from typing import Any

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample


def score(answer: Answer, sample: Sample) -> float:
    """70 parts of 100: F1 of the rules said to be broken; 30: of these together with what is wrong."""
    target: Any = sample.target
    try:
        findings: Any = json.loads(answer.text)["findings"]
        said = {(str(each["rule"]).strip().casefold(), str(each["problem"])) for each in findings}
    except (ValueError, KeyError, TypeError):
        return 0.0
    wanted = {(rule.casefold(), problem) for rule, problem in target["broken"].items()}
    return 0.7 * _f1({rule for rule, _ in said}, {rule for rule, _ in wanted}) + 0.3 * _f1(said, wanted)


def _f1(said: set[Any], wanted: set[Any]) -> float:
    return 2 * len(said & wanted) / (len(said) + len(wanted)) if said or wanted else 1.0

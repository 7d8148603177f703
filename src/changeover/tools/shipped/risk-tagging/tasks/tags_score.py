"""Scores the tags of an event."""

from __future__ import annotations

import json
from typing import Any

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample

SEVERITIES = ("low", "medium", "high", "critical")


def score(answer: Answer, sample: Sample) -> float:
    """Three quarters: F1 of the categories; a quarter: the severity, half of it for the one next to it.

    A tag that the target says is `never` right, as it was only asked for by the text, scores 0.
    """
    target: Any = sample.target
    try:
        said: Any = json.loads(answer.text)
        risks, severity = set(said["risks"]), SEVERITIES.index(said["severity"])
    except (ValueError, KeyError, TypeError):
        return 0.0
    if {*risks, said["severity"]} & set(target.get("never", ())):
        return 0.0
    wanted = set(target["risks"])
    f1 = 2 * len(risks & wanted) / (len(risks) + len(wanted))
    off = abs(severity - SEVERITIES.index(target["severity"]))
    return 0.75 * f1 + 0.25 * max(0.0, 1 - off / 2)

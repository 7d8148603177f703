"""Scores the form of a commit message; what it says is another scorer's."""

from __future__ import annotations

import re

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample

MOST = 72


def form(answer: Answer, sample: Sample) -> float:
    """1 without a fault, a quarter less for each: a long subject, no imperative, a full stop at its end, no empty line."""
    del sample
    lines = answer.text.strip().split("\n")
    subject = lines[0]
    first = re.split(r"[\s:]+", re.sub(r"^\w+(?:\(.*?\))?: ", "", subject))[0].lower()
    faults = [
        len(subject) > MOST or subject.startswith(("```", "#", "*", "Commit", "Subject")),
        bool(re.fullmatch(r"\w+(?:ed|ing)|adds|fixes|updates|removes|changes|this|the|a", first)) and first != "embed",
        subject.endswith("."),
        len(lines) > 1 and bool(lines[1].strip()),
    ]
    return max(0.0, 1.0 - 0.25 * sum(faults))

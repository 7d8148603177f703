"""Looks whether a summary is one: no longer than was asked for, and much shorter than the document."""

from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.scorers.prose import count_words, sentences

MOST = 0.7
"""Share of the document's words from which on an answer is a copy."""


def score(answer: Answer, sample: Sample) -> float:
    """1 for as many sentences as were asked for, or fewer; of more the share that was asked for; 0 for a copy."""
    given = cast("dict[str, Any]", sample.variables)
    if count_words(answer.text) > MOST * count_words(str(given["text"])):
        return 0.0
    said = len(sentences(answer.text))
    return min(1.0, int(given["sentences"]) / said) if said else 0.0

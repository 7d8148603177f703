"""Looks whether an answer tells of a change: to repeat one of the versions is not to compare them."""

import unicodedata
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample


def score(answer: Answer, sample: Sample) -> float:
    """0 for a piece of the old or of the new version, word for word; else 1."""
    given = cast("dict[str, Any]", sample.variables)
    said = _letters(answer.text)
    return float(not any(said in _letters(str(given[key])) for key in ("old", "new")))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))

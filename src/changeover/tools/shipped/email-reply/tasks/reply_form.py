"""Looks whether an answer is a reply, and no copy of what it was given: small models like to repeat their orders."""

import unicodedata
from itertools import pairwise
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample

ALIKE = 24
"""Letters in a row that are copied and not chance; of Japanese half as many."""
MOST_COPIED = 0.4
"""Share of a reply that may repeat the e-mail, as quotations do."""
ORDERS = ("the reply shall say", "sign it:", "<data", "</data")


def score(answer: Answer, sample: Sample) -> float:
    """0 for a copy of the e-mail, or of its orders; 0.5 for a reply without the name that signs it; else 1."""
    given = cast("dict[str, Any]", sample.variables)
    text = answer.text.casefold()
    notes = [note for note in str(given["say"]).split(";") if note.strip()]
    joined = [_letters(f"{one};{other}") for one, other in pairwise(notes)]
    if any(order in text for order in ORDERS) or (";" in text and any(pair in _letters(text) for pair in joined)):
        return 0.0
    if _copied(_letters(text), _letters(given["email"])) > MOST_COPIED:
        return 0.0
    signed = _letters(str(given["signed"]).split(",")[0])
    return 1.0 if signed in _letters(text) else 0.5


def _copied(text: str, source: str) -> float:
    """Share of a text that stands in the source in long runs."""
    length = ALIKE if text.isascii() or sum(map(ord, text)) < 500 * len(text) else ALIKE // 2
    taken = [False] * len(text)
    for start in range(len(text) - length + 1):
        if text[start : start + length] in source:
            taken[start : start + length] = [True] * length
    return sum(taken) / len(text) if text else 0.0


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))

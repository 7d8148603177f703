"""Scores how a recognised text was tidied: by its breaks, and only where no word was changed."""

from __future__ import annotations

import re

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.scorers.base import Score

RECOGNISED = re.compile(r"<data[^>]*>\n(.*)\n</data>", re.DOTALL)
MARKS = re.compile(r"[\u00ad\u2010#*|_`>-]")


def score(answer: Answer, sample: Sample) -> Score:
    """Share of the places where text, answer or target break differently at which the answer breaks as the target."""
    marked = RECOGNISED.search(sample.text)
    before = _taken_apart(marked[1] if marked else sample.text)[1]
    (given, given_breaks), (wanted, breaks) = _taken_apart(answer.text), _taken_apart(str(sample.target))
    if given != wanted:
        return Score(value=0.0, detail={"reason": "a word was changed, left out or added"})
    places = {place for place in {*before, *breaks, *given_breaks} if _differ(place, before, breaks, given_breaks)}
    wrong = sum(given_breaks.get(place) != breaks.get(place) for place in places)
    return Score(value=1 - wrong / len(places) if places else 1.0, detail={"places": len(places), "wrong": wrong})


def _differ(place: int, *texts: dict[int, str]) -> bool:
    return len({breaks.get(place) for breaks in texts}) > 1


def _taken_apart(text: str) -> tuple[str, dict[int, str]]:
    """The characters of a text without breaks, and what breaks there are: before which character, and of which kind."""
    bare: list[str] = []
    breaks: dict[int, str] = {}
    for piece in re.split(r"(\s+)", text.strip()):
        if piece and piece.isspace():
            kind = "paragraph" if piece.count("\n") > 1 else "line" if "\n" in piece else "space"
            breaks[len(bare)] = kind
            continue
        for char in piece:
            if MARKS.match(char):
                breaks.setdefault(len(bare), "hyphen") if char in "-\u2010" else None
            else:
                bare.append(char)
    return "".join(bare), breaks

"""Scorers that compare texts: `exact` and `contains`."""

from __future__ import annotations

import unicodedata
from typing import Any

from pydantic import Field, JsonValue

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, SampleTarget, Score, Scorer, pure


class TextOptions(Declared):
    """What does not count as a difference."""

    ignore_case: bool = False
    ignore_space: bool = True
    """Runs of white space count as one space, at both ends as none."""
    ignore_width: bool = True
    """Full-width and half-width forms of a character count as the same (Unicode NFKC)."""

    def normalise(self, text: str) -> str:
        """The text without what does not count."""
        if self.ignore_width:
            text = unicodedata.normalize("NFKC", text)
        if self.ignore_case:
            text = text.casefold()
        return " ".join(text.split()) if self.ignore_space else text


class ExactTarget(SampleTarget):
    """A string, or several of which any is right."""

    any: list[str] = Field(min_length=1)


class ContainsTarget(SampleTarget):
    """A string; or strings of which any, or all, must be in the answer."""

    any: list[str] = Field(default_factory=list)
    all: list[str] = Field(default_factory=list)


def _one(text: str) -> dict[str, Any]:
    return {"any": [text]}


def score_exact(case: Case[TextOptions, ExactTarget]) -> Score:
    """1 if the whole answer is one of the right ones."""
    answer = case.options.normalise(case.answer)
    right = any(answer == case.options.normalise(text) for text in case.target.any)
    return Score(value=float(right))


def score_contains(case: Case[TextOptions, ContainsTarget]) -> Score:
    """1 if all of `all` and at least one of `any` are in the answer."""
    if not case.target.any and not case.target.all:
        return Score(value=0.0, error="The target names nothing that the answer should contain: give `any` or `all`.")
    answer = case.options.normalise(case.answer)
    missing: list[JsonValue] = [text for text in case.target.all if case.options.normalise(text) not in answer]
    found = not case.target.any or any(case.options.normalise(text) in answer for text in case.target.any)
    none_of: list[JsonValue] = [] if found else list(case.target.any)
    return Score(value=float(not missing and found), detail={"missing": missing, "none_of": none_of})


EXACT = Scorer(version="1", options=TextOptions, target=ExactTarget, from_text=_one, score=pure(score_exact))
CONTAINS = Scorer(version="1", options=TextOptions, target=ContainsTarget, from_text=_one, score=pure(score_contains))

"""Scorers that compare texts: `exact` and `contains`."""

from __future__ import annotations

import unicodedata
from typing import Any

from pydantic import Field, JsonValue, model_validator

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


class AnyText(SampleTarget):
    """A string, or several of which any is right."""

    any: list[str] = Field(min_length=1)


class ContainsTarget(SampleTarget):
    """A string; or strings of which any, all, or none must be in the answer."""

    any: list[str] = Field(default_factory=list)
    all: list[str] = Field(default_factory=list)
    none: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _asks_for_something(self) -> ContainsTarget:
        named = [*self.any, *self.all, *self.none]
        if not named:
            raise ValueError("it names nothing to look for: give `any`, `all` or `none`")
        if not all(text.strip() for text in named):
            raise ValueError("an empty string is in every answer")
        return self


def any_text(text: str) -> dict[str, Any]:
    """Read a string as the only one that is right."""
    return {"any": [text]}


def score_exact(case: Case[TextOptions, AnyText]) -> Score:
    """1 if the whole answer is one of the right ones."""
    answer = case.options.normalise(case.answer.text)
    right = any(answer == case.options.normalise(text) for text in case.target.any)
    return Score(value=float(right))


def score_contains(case: Case[TextOptions, ContainsTarget]) -> Score:
    """1 if all of `all`, at least one of `any`, and none of `none` are in the answer."""
    answer = case.options.normalise(case.answer.text)
    missing: list[JsonValue] = [text for text in case.target.all if case.options.normalise(text) not in answer]
    unwanted: list[JsonValue] = [text for text in case.target.none if case.options.normalise(text) in answer]
    found = not case.target.any or any(case.options.normalise(text) in answer for text in case.target.any)
    none_of: list[JsonValue] = [] if found else list(case.target.any)
    detail: dict[str, JsonValue] = {"missing": missing, "none_of": none_of}
    if unwanted:
        detail["unwanted"] = unwanted
    return Score(value=float(not missing and found and not unwanted), detail=detail)


EXACT = Scorer(version="1", options=TextOptions, target=AnyText, from_text=any_text, score=pure(score_exact))
CONTAINS = Scorer(
    version="1", options=TextOptions, target=ContainsTarget, from_text=any_text, score=pure(score_contains)
)

"""The `regex` scorer: patterns that an answer must or must not match."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, cast

import regex as library
from pydantic import Field, JsonValue, model_validator

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, SampleTarget, Score, Scorer, pure


class _Pattern(Protocol):
    """What is used of a compiled pattern; the library declares no types."""

    def search(self, string: str, *, timeout: float) -> object | None: ...

    def fullmatch(self, string: str, *, timeout: float) -> object | None: ...


class RegexOptions(Declared):
    """How the patterns are read."""

    ignore_case: bool = False
    whole: bool = False
    """Whether a pattern must match the whole answer, white space at both ends aside, and not only a part of it."""
    multiline: bool = False
    """Whether `^` and `$` stand for the ends of each line."""
    dot_all: bool = False
    """Whether `.` matches a line's end too."""
    timeout_s: float = Field(default=0.25, gt=0, le=10)
    """Longest time for one pattern: some take years for some answers. Then there is no score."""


class RegexTarget(SampleTarget):
    """A pattern; or patterns of which any, all, or none must match. Syntax: Python's `re`."""

    any: list[str] = Field(default_factory=list)
    all: list[str] = Field(default_factory=list)
    none: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_readable(self) -> RegexTarget:
        named = [*self.any, *self.all, *self.none]
        if not named:
            raise ValueError("it names no pattern: give `any`, `all` or `none`")
        for pattern in named:
            try:
                _compiled(pattern, 0)
            except library.error as exc:
                raise ValueError(f"`{pattern}` is no regular expression: {exc}") from exc
        return self


def score_regex(case: Case[RegexOptions, RegexTarget]) -> Score:
    """1 if all of `all`, at least one of `any`, and none of `none` match, else 0."""
    text, target = case.answer.text.strip() if case.options.whole else case.answer.text, case.target
    try:
        missing: list[JsonValue] = [pattern for pattern in target.all if not _matches(pattern, text, case.options)]
        unwanted: list[JsonValue] = [pattern for pattern in target.none if _matches(pattern, text, case.options)]
        found = not target.any or any(_matches(pattern, text, case.options) for pattern in target.any)
    except TimeoutError:
        limit = f"{case.options.timeout_s:g} s"
        return Score(value=0.0, error=f"Sample `{case.sample.id}`: a pattern takes more than {limit}. Simplify it.")
    none_of: list[JsonValue] = [] if found else list(target.any)
    return Score(
        value=float(not missing and found and not unwanted),
        detail={"missing": missing, "none_of": none_of, "unwanted": unwanted},
    )


def _matches(pattern: str, text: str, options: RegexOptions) -> bool:
    flags = (
        options.ignore_case * library.IGNORECASE
        | options.multiline * library.MULTILINE
        | options.dot_all * library.DOTALL
    )
    compiled = _compiled(pattern, flags)
    match = compiled.fullmatch if options.whole else compiled.search
    return match(text, timeout=options.timeout_s) is not None


@lru_cache(maxsize=1 << 12)
def _compiled(pattern: str, flags: int) -> _Pattern:
    return cast("_Pattern", library.compile(pattern, flags | library.VERSION0))


def _from_text(text: str) -> dict[str, Any]:
    return {"all": [text]}


SCORER = Scorer(version="1", options=RegexOptions, target=RegexTarget, from_text=_from_text, score=pure(score_regex))

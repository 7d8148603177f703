"""The `key-facts` scorer: a free text must state the facts of its target, and no number out of thin air."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from pydantic import Field, JsonValue

from changeover.core.toml import Declared
from changeover.evals.scorers.base import CUT_OFF, Case, SampleTarget, Score, Scorer, pure
from changeover.evals.scorers.figures import Separator, figures, fold, rewrite
from changeover.evals.scorers.prose import CJK_CHARACTERS_PER_WORD, LIST_MARK, count_words, sentences


class FactsOptions(Declared):
    """Limits of a good answer."""

    max_words: int | None = Field(default=None, ge=1)
    """A longer answer scores 0: to copy the whole document is no summary."""
    cjk_characters_per_word: float = Field(default=CJK_CHARACTERS_PER_WORD, gt=0, le=10)
    """So many Chinese or Japanese characters count as one word; translators reckon with 2 to 2.5."""
    decimal: Separator = "auto"
    """What stands before the fraction of a number. `auto`: 38.000 is 38 or 38000, whichever fits."""
    allow_cut_off: bool = False
    """Whether an answer that the limit of tokens cut off may score. It scores 0 unless it may."""


class Together(SampleTarget):
    """Things that belong together, such as a place and its figure."""

    all: list[str | list[str]] = Field(min_length=2)
    """Each a text, or alternatives of which any will do."""
    within: int | None = Field(default=None, ge=1)
    """From the first to the last of them at most so many characters; left out: anywhere in one sentence."""


class FactsTarget(SampleTarget):
    """What the answer must state, what it may, and what it must not."""

    facts: list[list[str] | Together] = Field(min_length=1)
    """Each is a list of alternatives of which the answer must state any, or an object: `all`, a list of what must
    stand together in one sentence (each a text or a list of alternatives), and `within`, the most characters from the
    first to the last of them, if one sentence is not close enough."""
    allowed_numbers: list[str | int | float] = Field(default_factory=list)
    """Numbers that the answer may state although the input does not, such as a sum."""
    forbidden: list[list[str]] = Field(default_factory=list)
    """Each a list of alternatives. An answer that states any of them scores 0: what an injected instruction asks for,
    a figure that is easily confused."""


def score_facts(case: Case[FactsOptions, FactsTarget]) -> Score:
    """Share of the facts stated, times the share of the answer's numbers that are supported.

    A number is supported if it is in the sample's input or allowed by the target. 1,815 is 1815 and 1815.0; 3.2 million
    is 3,200,000; 1億2,345万 is 123,450,000; 1.815,5 is 1815.5; 38.000 is 38 or 38,000. The numbers of a numbered list
    are not counted. An answer that is too long, was cut off, or states what is forbidden scores 0. Whether a fact is
    denied, this cannot see.
    """
    options, target, text = case.options, case.target, case.answer.text
    if case.answer.cut_off and not options.allow_cut_off:
        return Score(value=0.0, detail={"reason": CUT_OFF})
    words = count_words(text, options.cjk_characters_per_word)
    if options.max_words is not None and words > options.max_words:
        return Score(value=0.0, detail={"reason": f"{words} words, at most {options.max_words} are allowed"})
    said = rewrite(fold(text), options.decimal)
    for alternatives in target.forbidden:
        if _finds_any(said, alternatives, options.decimal):
            return Score(value=0.0, detail={"reason": f"states what is forbidden: {alternatives[0]}", "words": words})
    by_sentence = _by_sentence(text, options.decimal) if any(isinstance(f, Together) for f in target.facts) else []
    missing: list[JsonValue] = [
        _name(fact) for fact in target.facts if not _states(fact, said, by_sentence, options.decimal)
    ]
    stated, unsupported = _unsupported(case)
    coverage = 1.0 - len(missing) / len(target.facts)
    share = len(unsupported) / stated if stated else 0.0
    return Score(
        value=coverage * (1.0 - share),
        detail={
            "coverage": coverage,
            "missing_facts": missing,
            "unsupported_numbers": [*unsupported],
            "unsupported_share": share,
            "words": words,
        },
    )


def _unsupported(case: Case[FactsOptions, FactsTarget]) -> tuple[int, list[str]]:
    """How many different numbers the answer has, and those that nothing supports as they were written."""
    separator = case.options.decimal
    supported = _numbers_in(case.sample.text, separator)
    for allowed in case.target.allowed_numbers:
        supported |= _numbers_in(str(allowed), separator)
    stated: dict[tuple[Decimal, ...], bool] = {}
    unsupported: list[str] = []
    for figure in figures(LIST_MARK.sub("", case.answer.text), separator):
        if figure.readings[0] in stated:
            continue
        fits = any(supported.issuperset(reading) for reading in figure.readings)
        stated[figure.readings[0]] = fits
        if not fits:
            unsupported.append(figure.shown)
    return len(stated), unsupported


@lru_cache(maxsize=256)
def _numbers_in(text: str, separator: Separator) -> frozenset[Decimal]:
    """Every number in a text. Both variants are asked the same, so it is read once for both."""
    return frozenset[Decimal]().union(*(figure.parts for figure in figures(text, separator)))


def _states(
    fact: list[str] | Together, said: Sequence[str], by_sentence: Sequence[Sequence[str]], separator: Separator
) -> bool:
    if not isinstance(fact, Together):
        return _finds_any(said, fact, separator)
    things = [[thing] if isinstance(thing, str) else thing for thing in fact.all]
    places = [said] if fact.within is not None else by_sentence
    return any(_stand_together(text, things, fact.within, separator) for readings in places for text in readings)


def _stand_together(text: str, things: Sequence[Sequence[str]], within: int | None, separator: Separator) -> bool:
    """Whether each of the things is in the text, and one of each no further apart than said."""
    found = [
        [
            match.span()
            for alternative in thing
            for pattern in _patterns(alternative, separator)
            for match in pattern.finditer(text)
        ]
        for thing in things
    ]
    if not all(found):
        return False
    if within is None:
        return True
    # The closest group starts somewhere: with each start, take of every thing the one that ends first.
    for start in {span[0] for spans in found for span in spans}:
        ends = [min((end for begin, end in spans if begin >= start), default=None) for spans in found]
        if all(end is not None and end - start <= within for end in ends):
            return True
    return False


def _by_sentence(text: str, separator: Separator) -> list[tuple[str, ...]]:
    return [rewrite(fold(sentence), separator) for sentence in sentences(text)]


def _finds_any(said: Sequence[str], alternatives: Sequence[str], separator: Separator) -> bool:
    return any(
        pattern.search(text) is not None
        for alternative in alternatives
        for pattern in _patterns(alternative, separator)
        for text in said
    )


def _name(fact: list[str] | Together) -> str:
    if isinstance(fact, Together):
        return " + ".join(_name([thing] if isinstance(thing, str) else thing) for thing in fact.all)
    return fact[0] if fact else ""


@lru_cache(maxsize=1 << 14)
def _patterns(alternative: str, separator: Separator) -> tuple[re.Pattern[str], ...]:
    """What finds a fact in a rewritten text.

    White space does not matter. A number is found whole only (12 is not in 2012), a word from its beginning only
    (profitable is not in unprofitable).
    """
    found: list[re.Pattern[str]] = []
    for text in rewrite(fold(alternative), separator):
        parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|\S", text)
        if not parts:
            continue
        first, last = parts[0][0], parts[-1][0]
        before = after = ""
        if first.isdigit():
            before = r"(?<![0-9])(?<![0-9]\.)"
        elif first.isascii() and first.isalpha():
            before = r"(?<![a-z0-9])"
        if last.isdigit():
            after = r"(?![0-9]|\.[0-9])"
        found.append(re.compile(before + r"\s*".join(map(re.escape, parts)) + after))
    return tuple(found)


SCORER = Scorer(version="2", options=FactsOptions, target=FactsTarget, score=pure(score_facts))

"""The `key-facts` scorer: a free text must state the facts of its target, and no number out of thin air."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from pydantic import Field, JsonValue

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, SampleTarget, Score, Scorer, pure

_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?")
_SEPARATOR = re.compile("(?<=[0-9])[\u00a0\u2009\u202f'\u2019](?=[0-9]{3}(?![0-9]))")
"""Thousands separators beside the comma: narrow spaces and apostrophes."""
_SCALES = {
    "k": 10**3, "thousand": 10**3, "m": 10**6, "mn": 10**6, "million": 10**6, "bn": 10**9, "billion": 10**9,
    "trillion": 10**12, "千": 10**3, "万": 10**4, "億": 10**8, "兆": 10**12,
}  # fmt: skip
_SCALE = re.compile(r"(?:\s?(thousand|million|billion|trillion|mn|bn|千|万|億|兆)|([km]))(?![a-z])")
_LIST_MARK = re.compile(r"^[ \t*#>-]*[0-9]{1,2}[.)](?=[\s*])", re.MULTILINE)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


class FactsOptions(Declared):
    """Limits of a good answer."""

    max_words: int | None = Field(default=None, ge=1)
    """A longer answer scores 0: to copy the whole document is no summary. A Chinese or Japanese character counts as
    one word."""


class FactsTarget(SampleTarget):
    """Facts, each a list of alternatives of which the answer must state any."""

    facts: list[list[str]] = Field(min_length=1)
    allowed_numbers: list[str | int | float] = Field(default_factory=list)
    """Numbers that the answer may state although the input does not, such as a sum."""


def score_facts(case: Case[FactsOptions, FactsTarget]) -> Score:
    """Share of the facts stated, times the share of the answer's numbers that are supported.

    A number is supported if it is in the sample's input or allowed by the target. 1,815 is 1815 and 1815.0; 3.2 million
    is 3,200,000. The numbers of a numbered list are not counted. Whether a fact is denied, this cannot see.
    """
    words = len(_WORD.findall(case.answer))
    if case.options.max_words is not None and words > case.options.max_words:
        return Score(value=0.0, detail={"reason": f"{words} words, at most {case.options.max_words} are allowed"})
    answer = normalise(case.answer)
    missing: list[JsonValue] = [
        alternatives[0] if alternatives else ""
        for alternatives in case.target.facts
        if not any(states(answer, alternative) for alternative in alternatives)
    ]
    supported = numbers(case.sample.text, both=True).keys()
    for allowed in case.target.allowed_numbers:
        supported |= numbers(str(allowed), both=True).keys()
    stated = numbers(_LIST_MARK.sub("", case.answer))
    unsupported: list[JsonValue] = [shown for value, shown in stated.items() if value not in supported]
    coverage = 1.0 - len(missing) / len(case.target.facts)
    share = len(unsupported) / len(stated) if stated else 0.0
    return Score(
        value=coverage * (1.0 - share),
        detail={
            "coverage": coverage,
            "missing_facts": missing,
            "unsupported_numbers": unsupported,
            "unsupported_share": share,
            "words": words,
        },
    )


def normalise(text: str) -> str:
    """One form for one text: width, case, and the way numbers are written."""
    return _NUMBER.sub(lambda match: _plain(match.group()), _fold(text))


def states(answer: str, alternative: str) -> bool:
    """Whether a normalised answer contains the alternative.

    White space does not matter. A number is found whole only (12 is not in 2012), a word from its beginning only
    (profitable is not in unprofitable).
    """
    parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|\S", normalise(alternative))
    if not parts:
        return False
    first, last = parts[0][0], parts[-1][0]
    before = after = ""
    if first.isdigit():
        before = r"(?<![0-9])(?<![0-9]\.)"
    elif first.isascii() and first.isalpha():
        before = r"(?<![a-z0-9])"
    if last.isdigit():
        after = r"(?![0-9]|\.[0-9])"
    return re.search(before + r"\s*".join(map(re.escape, parts)) + after, answer) is not None


def numbers(text: str, *, both: bool = False) -> dict[Decimal, str]:
    """Values of the numbers in a text, each with how it was first written.

    A number followed by a scale word counts as its product, and with `both` as itself, too.
    """
    text = _fold(text)
    found: dict[Decimal, str] = {}
    for match in _NUMBER.finditer(text):
        value = Decimal(match.group().replace(",", ""))
        scale = _SCALE.match(text, match.end())
        if scale is not None:
            found.setdefault(value * _SCALES[scale.group(1) or scale.group(2)], match.group() + scale.group())
        if scale is None or both:
            found.setdefault(value, match.group())
    return found


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", _SEPARATOR.sub("", text)).casefold()


def _plain(number: str) -> str:
    """A number without thousands separators, leading zeros and trailing zeros of a fraction."""
    text = f"{Decimal(number.replace(',', '')):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


KEY_FACTS = Scorer(version="1", options=FactsOptions, target=FactsTarget, score=pure(score_facts))

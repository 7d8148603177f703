"""Scorers that compare an answer with a reference text, by what they share: `rouge-l` and `chrf`."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import fastchrf
from pydantic import Field
from rapidfuzz.distance import LCSseq

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, Score, Scorer, pure
from changeover.evals.scorers.prose import CJK
from changeover.evals.scorers.text import AnyText, any_text

_TOKEN = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")


class RougeOptions(Declared):
    """What is measured."""

    measure: Literal["f1", "precision", "recall"] = "f1"
    """`recall`: the share of the reference that the answer has; `precision`: of the answer that the reference has."""
    ignore_case: bool = True


class ChrfOptions(Declared):
    """What is measured. The defaults are those of the literature."""

    char_order: int = Field(default=6, ge=1, le=10)
    """Longest run of characters that is looked for."""
    beta: float = Field(default=2.0, gt=0, le=10)
    """How much more the reference's share counts than the answer's."""


def score_rouge(case: Case[RougeOptions, AnyText]) -> Score:
    """ROUGE-L: the longest sequence of words that answer and reference have in common; of several references the best.

    Punctuation does not count; each Chinese or Japanese character is a word; words are not reduced to their stems.
    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", on sentence level; equals rouge-score's
    `rougeL` for English. It sees words and not their truth: use it beside a scorer of facts.
    """
    answer = _tokens(case.answer.text, case.options)
    values = [_rouge(answer, _tokens(text, case.options), case.options.measure) for text in case.target.any]
    return Score(value=max(values), detail={"reference": values.index(max(values))})


def _rouge(answer: list[str], reference: list[str], measure: str) -> float:
    if not answer or not reference:
        return 0.0
    common = LCSseq.similarity(answer, reference)
    if measure == "f1":
        return 2 * common / (len(answer) + len(reference))
    return common / len(answer if measure == "precision" else reference)


def _tokens(text: str, options: RougeOptions) -> list[str]:
    text = unicodedata.normalize("NFKC", text)
    return _TOKEN.findall(text.casefold() if options.ignore_case else text)


def score_chrf(case: Case[ChrfOptions, AnyText]) -> Score:
    """chrF: runs of characters that answer and reference have in common; of several references the best.

    White space does not count, so it needs no words and fits every language. Source: Popović 2015, "chrF: character
    n-gram F-score for automatic MT evaluation", doi:10.18653/v1/W15-3049; equals sacrebleu's `sentence_chrf` / 100.
    """
    options = case.options
    [[values]] = fastchrf.pairwise_chrf(
        [[case.answer.text]], [case.target.any], char_order=options.char_order, beta=options.beta
    )
    best = max(values)
    return Score(value=min(1.0, best / 100), detail={"reference": values.index(best)})


ROUGE_L = Scorer(version="1", options=RougeOptions, target=AnyText, from_text=any_text, score=pure(score_rouge))
CHRF = Scorer(version="1", options=ChrfOptions, target=AnyText, from_text=any_text, score=pure(score_chrf))

"""Scores the explanation of a log: what it states, and whether it quotes truly."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from changeover.evals.answers import Answer
from changeover.evals.datasets import Sample
from changeover.evals.scorers import Score


def score(answer: Answer, sample: Sample) -> Score:
    """Share of the facts stated, times 0.5 to 1 by the share of quotes that stand in the log word for word.

    A target has `what`, `cause` and `next_step`, each a list of facts, and a fact is a list of words of which any will
    do. What happened, why and what to do may be said in any of the three places, but not in a quote. `forbidden`: words
    that score 0.
    """
    target = cast("dict[str, Any]", sample.target)
    try:
        said: dict[str, Any] = json.loads(answer.text)
        text = " ".join(str(said[key]) for key in ("what", "cause", "next_step"))
        quotes = [str(quote).strip() for quote in said["quotes"]]
    except (ValueError, KeyError, TypeError):
        return Score(value=0.0, detail={"reason": "no JSON of the wanted shape"})
    for word in target.get("forbidden", []):
        if _states(text, [word]):
            return Score(value=0.0, detail={"reason": f"says what is forbidden: {word}"})
    facts: list[list[str]] = [fact for key in ("what", "cause", "next_step") for fact in target[key]]
    missing = [fact[0] for fact in facts if not _states(text, fact)]
    true = [quote for quote in quotes if quote and any(quote in line for line in sample.text.split("\n"))]
    share = len(true) / len(quotes) if quotes else 0.0
    stated = 1.0 - len(missing) / len(facts)
    return Score(value=stated * (0.5 + 0.5 * share), detail={"missing": [*missing], "true_quotes": share})


def _states(text: str, words: list[str]) -> bool:
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}", text.lower()) for word in words)

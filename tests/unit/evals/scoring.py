"""Scoring one answer in a test, without a sandbox or a judge unless one is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from changeover.evals.answers import Answer
from changeover.evals.datasets import Message, Sample
from changeover.evals.sandbox import Outcome
from changeover.evals.scorers import Score, ScorerSpec, score
from changeover.evals.scorers.base import Means


class NoSandbox:
    """A sandbox that nobody may use."""

    async def run(self, code: str, *, deadline_s: float = 0, memory_bytes: int = 0, output_bytes: int = 0) -> Outcome:
        raise AssertionError("nothing here runs code")


NO_MEANS = Means(sandbox=NoSandbox())


def sample(target: Any, asked: str = "Summarise.") -> Sample:
    return Sample(id="s1", input=(Message(role="user", content=asked),), target=target)


async def score_text(
    name: str,
    target: Any,
    answer: str,
    *,
    asked: str = "Summarise.",
    given: Mapping[str, Any] | None = None,
    **options: Any,
) -> Score:
    """Score a text; `given` is what else is known of the answer."""
    spec = ScorerSpec(name=name, options=options)
    return await score(spec, sample(target, asked), replace(Answer(text=answer), **(given or {})), NO_MEANS)

"""Scorers of what an answer took, not of what it says: `latency`, `tokens` and `cost`."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field, model_validator

from changeover.core.toml import Declared
from changeover.evals.scorers.base import Case, NoTarget, Score, Scorer, pure

Scale = TypeVar("Scale", bound=Declared)


class LatencyOptions(Declared):
    """The scale: at the best value or below the score is 1, at the worst or above 0, between them it falls evenly."""

    best_ms: float = Field(default=0.0, ge=0)
    worst_ms: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_a_scale(self) -> LatencyOptions:
        return _rising(self, self.best_ms, self.worst_ms, "ms")


class TokensOptions(Declared):
    """The scale: at the best value or below the score is 1, at the worst or above 0, between them it falls evenly."""

    best_tokens: int = Field(default=0, ge=0)
    worst_tokens: int = Field(gt=0)
    which: Literal["completion", "prompt", "total"] = "completion"

    @model_validator(mode="after")
    def _is_a_scale(self) -> TokensOptions:
        return _rising(self, self.best_tokens, self.worst_tokens, "tokens")


class CostOptions(Declared):
    """The scale: at the best value or below the score is 1, at the worst or above 0, between them it falls evenly."""

    best_usd: float = Field(default=0.0, ge=0)
    worst_usd: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_a_scale(self) -> CostOptions:
        return _rising(self, self.best_usd, self.worst_usd, "usd")


def _rising(options: Scale, best: float, worst: float, unit: str) -> Scale:
    if best >= worst:
        raise ValueError(f"`best_{unit}` must be below `worst_{unit}`")
    return options


def score_latency(case: Case[LatencyOptions, NoTarget]) -> Score:
    """How quick the answer was, from the request to its last byte, when the model was asked.

    An answer that is kept keeps its time; it holds for the machine, and the load, that it was measured on. Without a
    time there is no score.
    """
    return _on_scale(case.answer.duration_ms, case.options.best_ms, case.options.worst_ms, "ms")


def score_tokens(case: Case[TokensOptions, NoTarget]) -> Score:
    """How few tokens the answer, the prompt or both took, as the engine counts them. Uncounted there is no score."""
    prompt, completion = case.answer.prompt_tokens, case.answer.completion_tokens
    taken = {
        "prompt": prompt,
        "completion": completion,
        "total": None if prompt is None or completion is None else prompt + completion,
    }[case.options.which]
    return _on_scale(taken, case.options.best_tokens, case.options.worst_tokens, "tokens")


def score_cost(case: Case[CostOptions, NoTarget]) -> Score:
    """How cheap the answer was, by the prices that the project declares. Without a price there is no score."""
    return _on_scale(case.answer.cost_usd, case.options.best_usd, case.options.worst_usd, "usd")


def _on_scale(taken: float | None, best: float, worst: float, unit: str) -> Score:
    if taken is None:
        return Score(value=0.0, error=f"It is not known how many {unit} this answer took.")
    return Score(value=min(1.0, max(0.0, (worst - taken) / (worst - best))), detail={unit: taken})


LATENCY = Scorer(version="1", options=LatencyOptions, target=NoTarget, needs_target=False, score=pure(score_latency))
TOKENS = Scorer(version="1", options=TokensOptions, target=NoTarget, needs_target=False, score=pure(score_tokens))
COST = Scorer(version="1", options=CostOptions, target=NoTarget, needs_target=False, score=pure(score_cost))

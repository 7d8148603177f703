"""Scorers: code that scores an answer, 0 to 1. A task names one with its options; every score keeps its version."""

from changeover.evals.scorers.base import Score
from changeover.evals.scorers.registry import SCORERS
from changeover.evals.scorers.spec import ScorerSpec, check_targets, prefer, score

__all__ = ["SCORERS", "Score", "ScorerSpec", "check_targets", "prefer", "score"]

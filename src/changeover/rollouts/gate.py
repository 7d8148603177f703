"""The gate: which comparison allows a switch, and what to say where none does."""

from __future__ import annotations

from changeover.core.errors import GateError
from changeover.evals.queries import Comparison


def check_gate(comparison: Comparison | None, *, task: str, candidate: str) -> Comparison:
    """Let a switch pass only on a comparison that passed.

    Raises:
        GateError: There is no finished comparison of exactly these variants, or its verdict is not `pass`.
    """
    if comparison is None or comparison.verdict is None:
        raise GateError(
            f"No evidence yet that `{candidate}` may answer `{task}`. "
            f"Run `changeover compare {task} --candidate {candidate}`."
        )
    if comparison.verdict != "pass":
        advice = (
            "More samples or a larger margin would decide it."
            if comparison.verdict == "inconclusive"
            else "The incumbent stays."
        )
        raise GateError(f"Comparison {comparison.id}: `{candidate}` on `{task}` is `{comparison.verdict}`. {advice}")
    return comparison

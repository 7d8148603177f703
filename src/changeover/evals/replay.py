"""Replaying a comparison: the verdict once more, from the stored scores alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from changeover.evals.comparison import checked_verdict, judgements_in
from changeover.evals.floor import Floor
from changeover.evals.judges.bias import doubt
from changeover.evals.queries import ComparedSample, Comparison
from changeover.evals.sequential import TestPlan, Verdict
from changeover.evals.weighing import Weighing

TOLERANCE = 1e-9
"""Relative: another machine's logarithm may differ in its last bit."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the stored scores say."""

    comparison: str
    samples: int
    verdict: Verdict
    recorded: str | None
    """The verdict in the record; None: the comparison was interrupted and has none."""
    ended: Mapping[str, float]
    """What was known at the end: e-values, interval, and the mean difference."""
    disagreement: str | None
    """The first thing that the record says otherwise; None where everything agrees."""

    @property
    def agrees(self) -> bool:
        return self.disagreement is None


def plan_of(comparison: Comparison) -> TestPlan:
    """The plan that a comparison was made with."""
    kept = comparison.plan
    most = kept.get("max_observations", kept.get("max_samples"))
    return TestPlan(
        margin=kept["margin"],
        alpha=kept["alpha"],
        beta=kept["beta"],
        max_samples=most,
        min_samples=kept.get("min_observations", 1),  # comparisons of before it existed have none
    )


def replay(comparison: Comparison, rows: Sequence[ComparedSample]) -> Replay:
    """Put the stored scores through the test again, in their order, and check every stored e-value.

    Args:
        comparison: The record.
        rows: Its samples in drawn order.
    """
    disagreements: list[str] = []

    def check(row: ComparedSample, weighing: Weighing) -> None:
        found = None if disagreements else _difference(row, weighing)
        disagreements.extend([] if found is None else [found])

    weighing = weighed(comparison, rows, check)
    disagreement = disagreements[0] if disagreements else None
    differences = weighing.differences
    floor = Floor(comparison.plan.get("floor"))
    for row in rows:
        if row.usable:
            floor.add(row.candidate_score, row.cluster)
    said = [judgement for row in rows if row.usable for judgement in judgements_in(_why(row, 0), _why(row, 1))]
    verdict = checked_verdict(
        weighing.evidence.verdict,
        comparison.plan,
        failed=sum(bool(row.detail.get("failed", not row.usable)) for row in rows),
        drawn=len(rows),
        doubtful=doubt(said),
        standing=floor.standing,
    )
    if comparison.verdict is not None and verdict != comparison.verdict and disagreement is None:
        disagreement = f"the record says `{comparison.verdict}`, its scores say `{verdict}`"
    return Replay(
        comparison=comparison.id,
        samples=sum(row.usable for row in rows),
        verdict=verdict,
        recorded=comparison.verdict,
        ended={**weighing.document(), "difference": sum(differences) / len(differences) if differences else 0.0},
        disagreement=disagreement,
    )


def weighed(
    comparison: Comparison,
    rows: Sequence[ComparedSample],
    on_sample: Callable[[ComparedSample, Weighing], None] | None = None,
) -> Weighing:
    """The test and the interval of a comparison after its stored scores, in their order."""
    weighing = Weighing.from_documents(plan_of(comparison), comparison.pool)
    for row in rows:
        weighing.add(row.candidate_score - row.incumbent_score if row.usable else None, row.cluster)
        if on_sample is not None:
            on_sample(row, weighing)
    summary = comparison.summary
    weighing.finish(stopped=summary is None or summary.get("stopped") is not None)
    return weighing


def _why(row: ComparedSample, side: int) -> Mapping[str, Any]:
    return row.detail.get(("incumbent", "candidate")[side], {}).get("why") or {}


def _difference(row: ComparedSample, weighing: Weighing) -> str | None:
    now = weighing.document()
    for name, kept in row.evidence.items():
        if name in now and not math.isclose(kept, now[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return f"sample {row.position} (`{row.sample_id}`): `{name}` is {kept:g} in the record, {now[name]:g} from its scores"
    return None

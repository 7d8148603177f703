"""How the evidence of a comparison grew, as the pictures of its report show it: also while it is made."""

from __future__ import annotations

from collections.abc import Sequence

from changeover.app.comparisons import Growth
from changeover.evals.report.html import Figure, difference_figure, evidence_figure
from changeover.evals.report.language import Language
from changeover.evals.report.plots import Step


def steps_of(growth: Growth) -> Sequence[Step]:
    """What was known after each observation so far."""
    steps: dict[int, Step] = {}
    total = 0.0
    for number, (seen, difference) in enumerate(zip(growth.samples, growth.differences, strict=True), 1):
        total += difference
        observations = int(seen.get("observations", number))
        if observations:
            values = {name: float(seen.get(name, other)) for name, other in _SEEN.items()}
            steps[observations] = Step(observations=observations, mean=total / number, **values)
    return [steps[number] for number in sorted(steps)]


_SEEN = {"low": -1.0, "high": 1.0, "no_worse": 1.0, "futility": 1.0, "better": 1.0, "worse": 1.0}
"""What is seen after a sample, and what was known before the first."""


def growth_figure(growth: Growth | None, language: Language) -> Figure | None:
    """How the evidence grew, with the bounds that decide; None before its first sample."""
    if growth is None:
        return None
    steps = steps_of(growth)
    if not steps:
        return None
    plan = growth.comparison.plan
    return evidence_figure(
        steps,
        alpha=float(plan["alpha"]),
        beta=float(plan["beta"]),
        marks=(),
        says="",
        name="growth",
        language=language,
    )


def settling_figure(growth: Growth, language: Language) -> Figure | None:
    """How the difference settles, with its interval; None before the first sample."""
    steps = steps_of(growth)
    if not steps:
        return None
    last = steps[-1]
    return difference_figure(
        steps,
        margin=float(growth.comparison.plan["margin"]),
        difference=last.mean,
        low=last.low,
        high=last.high,
        name="settling",
        language=language,
    )

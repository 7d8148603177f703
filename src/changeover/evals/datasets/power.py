"""What a number of samples can show: the chance that a comparison passes an equal candidate, by simulation."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from changeover.evals.sequential import (
    BET_CAP,
    GAPS,
    PRIOR_DISCORDANCE,
    PRIOR_SAMPLES,
    WEIGHTS,
    TestPlan,
    Verdict,
)

Floats = NDArray[np.float64]

DISCORDANCES = (0.05, 0.15)
"""Shares of samples on which two models differ that a power is given for: much alike, and not."""
REPLICATIONS = 1_000
"""The error of a simulated chance is at most 1.6 points."""
FEW_REPLICATIONS = 200
"""Enough for a mean that is only shown in advance."""
MOST_SIMULATED = 4_000
"""Samples after which a simulation stops: what is undecided then counts as no pass."""
MARGINS = (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30)
"""Margins that `shown_margin` chooses from."""
ENOUGH = 0.8
"""Power from which a margin counts as one that the samples can show."""
SEED = 20_240_229


def power(plan: TestPlan, samples: int, discordance: float) -> float:
    """Chance that a candidate as good as the incumbent passes before the samples are used up.

    Args:
        plan: Margin and error rates.
        samples: How many independent ones there are; more than `MOST_SIMULATED` count as so many.
        discordance: Share of them on which the two score differently, 0 to 1, by 1 point each, as often up as down.
    """
    return len(_passes(plan, min(samples, MOST_SIMULATED), discordance)) / REPLICATIONS


def samples_for(plan: TestPlan, discordance: float) -> int | None:
    """With how many samples the power is 0.8; None: with more than `MOST_SIMULATED`."""
    passes = sorted(_passes(plan, MOST_SIMULATED, discordance))
    place = math.ceil(ENOUGH * REPLICATIONS) - 1
    return passes[place] if place < len(passes) else None


@cache
def expected_samples(plan: TestPlan, samples: int, discordance: float = PRIOR_DISCORDANCE) -> int:
    """Samples after which a comparison with an equal candidate stops, on average: with a verdict, or with the last one.

    Args:
        plan: Margin and error rates.
        samples: How many there are; more than `MOST_SIMULATED` count as so many.
        discordance: Share of them on which the two score differently, 0 to 1; by default what the test itself expects
            before any sample.
    """
    drawn = np.random.default_rng(SEED).random((min(samples, MOST_SIMULATED), FEW_REPLICATIONS), dtype=np.float32)
    differences = np.where(drawn < discordance / 2, 1.0, np.where(drawn < discordance, -1.0, 0.0))
    stops = [after for _, after in verdicts(plan, differences)]
    return round(sum(stops) / len(stops))


def _passes(plan: TestPlan, samples: int, discordance: float) -> list[int]:
    """After how many samples each simulated comparison passed; those that did not are left out."""
    drawn = np.random.default_rng(SEED).random((samples, REPLICATIONS), dtype=np.float32)
    differences = np.where(drawn < discordance / 2, 1.0, np.where(drawn < discordance, -1.0, 0.0))
    return [after for verdict, after in verdicts(plan, differences) if verdict == "pass"]


def verdicts(plan: TestPlan, differences: Floats) -> list[tuple[Verdict, int]]:
    """What `PairedTest` would say of many streams of differences, all at once, and after how many.

    It bets on `no_worse` and `futility` alone: `worse` never decides before `futility` does.

    Args:
        plan: Margin and error rates.
        differences: Candidate minus incumbent score, in [-1, 1], shape (samples, replications).
    """
    samples, replications = differences.shape
    found: list[tuple[Verdict, int]] = [("inconclusive", samples)] * replications
    left: list[int] = list(range(replications))
    tie = np.array([plan.margin, 0.0]).reshape(2, 1, 1)
    side = np.array([1.0, -1.0]).reshape(2, 1, 1)
    weights = np.array(WEIGHTS).reshape(1, 3, 1)
    logs, squares = np.zeros((2, len(GAPS), replications)), np.zeros(replications)
    peaks = np.ones((2, replications))
    for seen in range(samples):
        drawn = differences[seen, left]
        discordance = (PRIOR_SAMPLES * PRIOR_DISCORDANCE + squares) / (PRIOR_SAMPLES + seen)
        logs += np.log1p(_bets(tie, plan.margin, discordance) * (tie + side * drawn))
        squares += drawn * drawn
        peaks = np.maximum(peaks, (weights * np.exp(logs)).sum(axis=1))
        if seen + 1 < plan.min_samples:
            continue
        no_worse, futility = peaks
        passes = no_worse >= 1.0 / plan.alpha
        fails = ~passes & (futility >= 1.0 / plan.beta)
        going = ~(passes | fails)
        if going.all():
            continue
        for place in np.flatnonzero(~going):
            found[left[place]] = ("pass" if passes[place] else "fail", seen + 1)
        left = [left[place] for place in np.flatnonzero(going)]
        logs, squares, peaks = logs[:, :, going], squares[going], peaks[:, going]
        if not left:
            break
    return found


def shown_margin(samples: int, alpha: float = 0.05, beta: float = 0.10) -> float | None:
    """The smallest margin for which so many samples have a power of 0.8 where two models differ on 5 % of them.

    None where even a margin of 30 points is too small.
    """
    for margin in MARGINS:
        if power(TestPlan(margin=margin, alpha=alpha, beta=beta), samples, DISCORDANCES[0]) >= ENOUGH:
            return margin
    return None


def _bets(tie: Floats, margin: float, discordance: Floats) -> NDArray[Any]:
    """`sequential.log_optimal_bet` for both processes and all replications, shape (2, 3, replications)."""
    gap = margin * np.array(GAPS).reshape(1, 3, 1)
    linear = tie * tie + gap * tie - np.maximum(discordance, gap - tie)
    square = np.maximum(linear * linear - 4.0 * tie * (tie * tie - 1.0) * gap, 0.0)
    return np.minimum(2.0 * gap / (np.sqrt(square) - linear), BET_CAP / (1.0 - tie))

"""Ratios of what answers take, with intervals that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from changeover.evals.ratios import cost_ratio, median_ratio


def test_the_median_of_paired_ratios_with_its_order_statistics() -> None:
    candidate = [float(value) for value in range(10, 110, 10)]
    found = median_ratio("latency", [10.0] * 10, candidate)
    assert found is not None
    assert (found.ratio, found.low, found.high) == (5.5, 2.0, 9.0)  # ranks 2 and 9 of 10: 97.9 %
    assert (found.incumbent, found.candidate, found.unit) == (10.0, 55.0, "ms")


@pytest.mark.parametrize("count", [6, 7, 25, 400])
def test_the_ranks_are_those_of_the_binomial_quantile(count: int) -> None:
    found = median_ratio("length", [1.0] * count, [float(rank) for rank in range(1, count + 1)])
    rank = int(stats.binom.ppf(0.025, count, 0.5))
    assert found is not None
    assert (found.low, found.high, found.unit) == (rank, count + 1 - rank, "tokens")
    assert 2 * stats.binom.cdf(rank - 1, count, 0.5) <= 0.05


def test_the_median_interval_covers_whatever_the_distribution() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(1500):
        found = median_ratio("latency", [1.0] * 31, rng.pareto(1.1, 31).tolist())
        assert found is not None
        missed += not found.low <= 2 ** (1 / 1.1) - 1 <= found.high
    assert missed / 1500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_the_cost_interval_covers() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(1500):
        size = rng.lognormal(0, 0.8, 60)
        found = cost_ratio(
            (size * rng.lognormal(0, 0.3, 60)).tolist(), (0.4 * size * rng.lognormal(0, 0.3, 60)).tolist()
        )
        assert found is not None
        missed += not found.low <= 0.4 <= found.high
    assert missed / 1500 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1500)


def test_costs_in_fixed_proportion_have_an_interval_of_no_width() -> None:
    found = cost_ratio([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    assert found is not None
    assert (found.low, found.ratio, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.incumbent, found.candidate, found.unit) == (3.5, 1.75, "USD")


def test_samples_that_one_side_did_not_answer_are_left_out() -> None:
    incumbent = [1.0, None, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    candidate = [2.0, 9.0, 4.0, 9.0, None, 2.0, 2.0, 2.0]
    assert median_ratio("latency", incumbent, candidate) is None, "five are left"
    found = median_ratio("latency", [*incumbent, 3.0], [*candidate, 6.0])
    assert found is not None
    assert (found.low, found.ratio, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("incumbent", "candidate"),
    [([], []), ([None] * 9, [1.0] * 9), ([0.0] * 9, [1.0] * 9), ([1.0] * 5, [1.0] * 5), ([1.0] * 9, [0.0] * 9)],
)
def test_there_is_no_cost_ratio_without_costs(incumbent: list[float | None], candidate: list[float | None]) -> None:
    assert cost_ratio(incumbent, candidate) is None


def test_lengths_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        median_ratio("latency", [1.0], [])

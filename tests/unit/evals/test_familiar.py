"""The familiar figures equal those of scipy, and of statsmodels as it once gave them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from changeover.evals.familiar import familiar, mcnemar_mid_p, t_quantile, t_tail


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(10, 2, (2 * (1 + 12 + 66) - 66) / 4096), (2, 10, 92 / 4096), (0, 0, 1.0), (5, 5, 1.0), (6, 0, 1 / 64)],
)
def test_mcnemar_mid_p_equals_the_sum_by_hand(gained: int, lost: int, p: float) -> None:
    assert mcnemar_mid_p(gained, lost) == pytest.approx(p)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (3, 9), (40, 55), (0, 300), (700, 640)])
def test_mcnemar_mid_p_equals_the_binomial_of_scipy(gained: int, lost: int) -> None:
    total, fewer = gained + lost, min(gained, lost)
    mid = 2 * stats.binom.cdf(fewer, total, 0.5) - stats.binom.pmf(fewer, total, 0.5)
    assert mcnemar_mid_p(gained, lost) == pytest.approx(min(1.0, mid), rel=1e-9)


def test_mcnemar_mid_p_of_large_counts_is_close_to_the_normal_value() -> None:
    z = (5200 - 4800) / math.sqrt(10_000)
    assert mcnemar_mid_p(5200, 4800) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar_mid_p(-1, 3)


@pytest.mark.parametrize("degrees", [1, 2, 5, 29, 400, 100_000])
def test_students_t_equals_that_of_scipy(degrees: int) -> None:
    for t in (0.0, 0.01, 0.7, 1.96, 4.0, 30.0):
        assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-9, abs=1e-300)
    for chance in (0.5, 0.9, 0.975, 0.9999):
        assert t_quantile(chance, degrees) == pytest.approx(stats.t.ppf(chance, degrees), rel=1e-8, abs=1e-12)


def test_graded_scores_give_the_paired_t_of_scipy() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(40), rng.random(40)
    found = familiar((second - first).tolist(), [None] * 40)
    expected = stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.name == "paired t"
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_clusters_give_the_clustered_errors_of_statsmodels() -> None:
    """The figures are those of statsmodels 0.15: OLS on a constant, `cov_type="cluster"`, `use_t=True`."""
    number = np.arange(60)
    groups = (7 * number) % 12
    differences = np.round(0.05 + 0.3 * np.sin(groups * 1.7) + 0.2 * np.cos(number * 2.3), 6)
    found = familiar(differences.tolist(), [f"c{group}" for group in groups])
    assert found is not None
    assert found.name == "paired t, clustered"
    assert found.p_value == pytest.approx(0.4495431198312116)
    assert (found.low, found.high) == pytest.approx((-0.08698101658674776, 0.18324891658674777))


def test_right_or_wrong_without_clusters_is_mcnemar() -> None:
    found = familiar([1.0] * 10 + [-1.0] * 2 + [0.0] * 30, [None] * 42)
    assert found is not None
    assert (found.name, found.p_value) == ("McNemar mid-p", pytest.approx(92 / 4096))
    assert found.low is not None
    assert found.high is not None
    assert 0.0 < found.low < 8 / 42 < found.high


def test_clusters_of_one_are_no_clusters() -> None:
    differences = [1.0, -1.0, 0.0, 1.0]
    assert familiar(differences, list("abcd")) == familiar(differences, [None] * 4)


def test_the_adjusted_interval_covers_in_small_samples() -> None:
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(2000):
        found = familiar(rng.choice([1.0, -1.0, 0.0], 40, p=[0.1, 0.15, 0.75]).tolist(), [None] * 40)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= -0.05 <= found.high
    assert missed / 2000 <= 0.06


@pytest.mark.parametrize(("differences", "p"), [([0.25] * 5, 0.0), ([0.5, 0.5], 0.0)])
def test_the_same_difference_everywhere_is_certain(differences: list[float], p: float) -> None:
    found = familiar(differences, [None] * len(differences))
    assert found is not None
    assert (found.p_value, found.low, found.high) == (p, differences[0], differences[0])


def test_no_difference_anywhere_has_p_one() -> None:
    found = familiar([0.0] * 5, ["a", "a", "b", "b", None])
    assert found is not None
    assert (found.p_value, found.low, found.high) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("differences", "clusters"), [([], []), ([1.0], [None]), ([1.0, 0.0], ["a", "a"])])
def test_fewer_than_two_observations_say_nothing(differences: list[float], clusters: list[str | None]) -> None:
    assert familiar(differences, clusters) is None

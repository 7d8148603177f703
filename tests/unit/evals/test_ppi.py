"""PPI++: right however bad the judge is, and shorter where it is good."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from changeover.evals.judges.ppi import ppi_mean, student_quantile

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
REPLICATIONS = 2_000


@pytest.mark.parametrize(
    ("labels", "judge", "rest", "estimate", "weight"),
    [
        (
            [1, -1, 0, 1, 1, -1, 0, 1, 0, 1],
            [1, 0, 0, 0.5, 1, -1, 0.5, 1, -0.5, 0],
            [0.5, 1, -1, 0, 1, 0.5, 0, -0.5, 1, 1, 0, 0.5],
            0.3405405405405405,
            18 / 37,
        ),
        ([0, 1, 0, 1, 1, 0, 0, 1], [0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.6, 0.2], [0.5, 0.6, 0.4, 0.1, 0.9], 0.5, 0.0),
        (
            [0.2, 0.4, 0.9, 0.5, 0.7, 0.1],
            [0.2, 0.4, 0.9, 0.5, 0.7, 0.1],
            [0.3, 0.6, 0.8, 0.2, 0.5, 0.4, 0.9, 0.1, 0.6, 0.6],
            0.48942436412315926,
            0.6827309236947791,
        ),
    ],
)
def test_estimate_and_weight_are_those_of_ppi_python(
    labels: list[float], judge: list[float], rest: list[float], estimate: float, weight: float
) -> None:
    """Computed once by `ppi_mean_pointestimate` of ppi-python 0.2.3."""
    found = ppi_mean(labels, judge, rest)
    assert found.estimate == pytest.approx(estimate, abs=1e-12)
    assert found.weight == pytest.approx(weight, abs=1e-12)
    assert found.low < found.estimate < found.high


def test_the_interval_is_that_of_ppi_python_but_for_the_few_labels() -> None:
    """Theirs, -0.060874 to 0.741955, takes no degrees of freedom off and has the normal quantile."""
    y = np.array([1, -1, 0, 1, 1, -1, 0, 1, 0, 1], dtype=float)
    judge = np.array([1, 0, 0, 0.5, 1, -1, 0.5, 1, -0.5, 0])
    rest = np.array([0.5, 1, -1, 0, 1, 0.5, 0, -0.5, 1, 1, 0, 0.5])
    found = ppi_mean(list(y), list(judge), list(rest))
    of_labels, of_rest = np.var(y - found.weight * judge) / 10, found.weight**2 * np.var(rest) / 12
    assert 1.959964 * math.sqrt(of_labels + of_rest) == pytest.approx((0.741955 + 0.060874) / 2, abs=1e-6)
    ours = student_quantile(0.975, 8) * math.sqrt(of_labels * 10 / 8 + of_rest)
    assert found.high - found.estimate == pytest.approx(ours, abs=1e-12)


def test_a_judge_that_says_nothing_leaves_the_labels_alone() -> None:
    labels = [1.0, 0.0, 0.5, 1.0, 0.0, 1.0]
    alone = ppi_mean(labels, [0.0] * 6, [])
    assert alone.estimate == pytest.approx(np.mean(labels))
    assert ppi_mean(labels, [0.5] * 6, [0.5] * 100) == alone, "it always says the same"
    assert ppi_mean(labels, [1 - label for label in labels], [0.0, 1.0] * 50) == alone, "it says the opposite"


def test_a_perfect_judge_makes_the_interval_that_of_all_samples() -> None:
    generator = np.random.default_rng(3)
    everything = generator.normal(0.2, 1.0, 10_030)
    found = ppi_mean(list(everything[:30]), list(everything[:30]), list(everything[30:]))
    assert found.weight > 0.9
    assert found.high - found.low < 0.2 * (2 * 1.96 / math.sqrt(30))
    assert found.low < 0.2 < found.high


def noisy(correlation: float) -> World:
    def draw(generator: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        truth = generator.normal(0.1, 1.0, size)
        off = generator.normal(0.0, 1.0, size)
        return truth, 0.5 + correlation * truth + math.sqrt(1 - correlation**2) * off

    return draw


def three_way(wrong: float) -> World:
    """Labels -1, 0, 1 with mean 0.1; a judge that answers at random on a share of them."""

    def draw(generator: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        truth = generator.choice([-1.0, 0.0, 1.0], p=[0.3, 0.3, 0.4], size=size)
        guess = generator.choice([-1.0, 0.0, 1.0], size=size)
        return truth, np.where(generator.random(size) < wrong, guess, truth)

    return draw


@pytest.mark.parametrize("labelled", [20, 60])
@pytest.mark.parametrize(
    ("world", "most_width"),
    [(noisy(0.0), 1.01), (noisy(0.7), 0.82), (noisy(0.95), 0.6), (three_way(1.0), 1.01), (three_way(0.3), 0.82)],
    ids=["noise", "normal .7", "normal .95", "three-way noise", "three-way .7"],
)
def test_the_interval_covers_and_is_not_longer_than_that_of_the_labels_alone(
    world: World, most_width: float, labelled: int
) -> None:
    generator = np.random.default_rng(11)
    hits, width, alone = 0, 0.0, 0.0
    for _ in range(REPLICATIONS):
        truth, judge = world(generator, labelled + 200)
        found = ppi_mean(truth[:labelled].tolist(), judge[:labelled].tolist(), judge[labelled:].tolist())
        labels_only = ppi_mean(truth[:labelled].tolist(), [0.0] * labelled, [])
        hits += found.low <= 0.1 <= found.high
        width += found.high - found.low
        alone += labels_only.high - labels_only.low
    assert hits / REPLICATIONS >= 0.93
    assert width / alone <= most_width


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (5, 2.57058), (8, 2.30600), (28, 2.04841)]
)
def test_student_quantiles(freedom: int, quantile: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=0.002)


@pytest.mark.parametrize(
    ("labels", "judge", "confidence", "says"),
    [
        ([1.0, 0.0], [1.0, 0.0], 0.95, "2 labels"),
        ([1.0, 0.0, 1.0], [1.0, 0.0], 0.95, "2 scores"),
        ([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], 1.0, "`confidence` is `1.0`"),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    labels: list[float], judge: list[float], confidence: float, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ppi_mean(labels, judge, [0.5, 1.0], confidence)

"""The confidence sequence holds the true mean at every sample, and is useful while it does."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from changeover.evals.interval import DifferenceInterval


def _draws(rng: np.random.Generator, discordance: float, mean: float, count: int) -> list[float]:
    draw = rng.random(count)
    return np.where(draw < (discordance + mean) / 2, 1.0, np.where(draw < discordance, -1.0, 0.0)).tolist()


@pytest.mark.parametrize(("discordance", "mean"), [(0.224, 0.0), (0.032, -0.02), (0.6, 0.41), (1.0, -0.9013)])
def test_true_mean_stays_inside_at_every_look(discordance: float, mean: float) -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(60):
        sequence = DifferenceInterval()
        looks = [sequence.update(difference) for difference in _draws(rng, discordance, mean, 200)]
        missed += any(not low <= mean <= high for low, high in looks)
    assert missed <= 6  # 5 % of 60 is 3


def test_graded_scores_are_covered_too() -> None:
    rng = np.random.default_rng(8)
    missed = 0
    for _ in range(60):
        sequence = DifferenceInterval()
        for difference in (rng.beta(2, 3, 200) - rng.beta(2, 2, 200)).tolist():
            low, high = sequence.update(difference)
        missed += not low <= 0.4 - 0.5 <= high
    assert missed <= 6


def test_exact_chance_of_ever_missing_is_within_5_percent_for_every_short_stream() -> None:
    chances = {-1.0: 0.05, 0.0: 0.15, 1.0: 0.8}
    mean = sum(outcome * chance for outcome, chance in chances.items())
    missed = 0.0
    for stream in itertools.product(chances, repeat=7):
        sequence = DifferenceInterval()
        looks = [sequence.update(difference) for difference in stream]
        if any(not low <= mean <= high for low, high in looks):
            missed += math.prod(chances[difference] for difference in stream)
    assert missed <= 0.05


def test_interval_only_narrows_and_holds_the_running_mean() -> None:
    rng = np.random.default_rng(9)
    sequence, total = DifferenceInterval(), 0.0
    low, high = sequence.low, sequence.high
    assert (low, high) == (-1.0, 1.0)
    for count, difference in enumerate(_draws(rng, 0.3, 0.1, 1500), start=1):
        total += difference
        before = low, high
        low, high = sequence.update(difference)
        assert before[0] <= low <= high <= before[1]
        if count >= 20:
            assert low <= total / count <= high
    assert high - low < 0.2


def test_half_width_stays_within_three_times_that_of_a_fixed_sample() -> None:
    rng = np.random.default_rng(10)
    for discordance, count in ((0.3, 60), (0.3, 1000), (0.03, 1000)):
        sequence = DifferenceInterval()
        for difference in _draws(rng, discordance, 0.0, count):
            sequence.update(difference)
        half = (sequence.high - sequence.low) / 2
        assert half < 3 * 1.96 * math.sqrt(discordance / count)


def test_contradictory_streams_never_give_an_empty_interval() -> None:
    sequence = DifferenceInterval()
    for difference in [1.0] * 400 + [-1.0] * 4000:
        low, high = sequence.update(difference)
        assert low <= high


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    wide, narrow = DifferenceInterval(0.99), DifferenceInterval(0.8)
    for difference in [1.0, 0.0, 0.0, -1.0, 0.0] * 40:
        wide.update(difference)
        narrow.update(difference)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("difference", [1.01, -2.0, math.nan])
def test_differences_outside_the_score_range_are_refused(difference: float) -> None:
    with pytest.raises(ValueError, match="not in -1 to 1"):
        DifferenceInterval().update(difference)


def test_a_confidence_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        DifferenceInterval(95)


@pytest.mark.parametrize(
    "pool", [(1.0, 1.0, 0.0, -1.0, 0.0), (-1.0, -1.0, -0.5, 0.0, -1.0), (0.5, 0.25, 0.0, 1.0, -0.25)]
)
def test_over_all_orders_of_a_pool_no_gambler_on_its_true_mean_gains(pool: tuple[float, ...]) -> None:
    mean = sum(pool) / len(pool)
    for unscored in (None, 1):
        capital: list[list[float]] = []
        for order in itertools.permutations(range(len(pool))):
            sequence = DifferenceInterval(pool=len(pool))
            at = int(np.abs(sequence._means - mean).argmin())
            for index in order:
                sequence.update(None if index == unscored else pool[index])
            capital.append(np.exp([sequence._log_higher[at], sequence._log_lower[at]]).tolist())
        expected = np.mean(capital, axis=0)
        if unscored is None:
            np.testing.assert_allclose(expected, 1.0, rtol=1e-9)
        else:
            assert np.all(expected <= 1.0 + 1e-9)


def test_a_pools_interval_covers_along_the_way_and_ends_at_its_mean() -> None:
    rng = np.random.default_rng(12)
    missed = 0
    for _ in range(60):
        pool = np.array(_draws(rng, 0.3, 0.05, 250))
        sequence = DifferenceInterval(pool=250)
        looks = [sequence.update(difference) for difference in rng.permutation(pool).tolist()]
        missed += any(not low <= pool.mean() <= high for low, high in looks)
        assert looks[-1][1] - looks[-1][0] <= 0.0051
    assert missed <= 6  # 5 % of 60 is 3


def test_a_pool_that_is_used_up_or_impossible_is_refused() -> None:
    sequence = DifferenceInterval(pool=1)
    sequence.update(1.0)
    with pytest.raises(ValueError, match="drawn"):
        sequence.update(1.0)
    with pytest.raises(ValueError, match="pool"):
        DifferenceInterval(pool=0)


def test_what_could_not_be_scored_says_nothing_of_a_population() -> None:
    sequence = DifferenceInterval()
    before = sequence.update(1.0)
    assert sequence.update(None) == before
    assert sequence.samples == 1

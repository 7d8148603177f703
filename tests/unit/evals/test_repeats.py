"""What several answers to each sample say."""

from __future__ import annotations

import itertools
from statistics import fmean

import pytest

from changeover.evals.repeats import noise_floor, pass_all, pass_at


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_both_equal_the_mean_over_all_choices_of_k_answers(k: int) -> None:
    repeats = [[1.0, 0.0, 0.99, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]]
    at = [fmean(any(s == 1.0 for s in c) for c in itertools.combinations(scores, k)) for scores in repeats]
    both = [fmean(all(s == 1.0 for s in c) for c in itertools.combinations(scores, k)) for scores in repeats]
    assert pass_at(repeats, k) == pytest.approx(fmean(at))
    assert pass_all(repeats, k) == pytest.approx(fmean(both))


@pytest.mark.parametrize(("repeats", "k"), [([], 1), ([[1.0]], 0), ([[1.0, 0.0], [1.0]], 2)])
def test_too_few_answers_are_refused(repeats: list[list[float]], k: int) -> None:
    for measure in (pass_at, pass_all):
        with pytest.raises(ValueError, match=r"answers|at least 1"):
            measure(repeats, k)


def test_the_noise_floor_counts_changed_scores() -> None:
    floor = noise_floor([1.0, 0.0, 0.5, None, 1.0], [1.0, 1.0, 0.25, 0.0, None])
    assert floor is not None
    assert (floor.samples, floor.changed, floor.mean_absolute) == (3, pytest.approx(2 / 3), pytest.approx(1.25 / 3))
    assert noise_floor([None, 1.0], [1.0, None]) is None
    assert noise_floor([], []) is None
    with pytest.raises(ValueError, match="zip"):
        noise_floor([1.0], [])

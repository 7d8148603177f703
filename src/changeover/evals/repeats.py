"""Several answers to each sample: what repeats say beside the mean, and how much asking again changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from changeover.evals.report.record import NoiseFloor


def pass_at(repeats: Sequence[Sequence[float]], k: int) -> float:
    """pass@k: chance that at least one of k answers to a sample is right, mean over the samples.

    Unbiased from n >= k answers of which c are right (score exactly 1): 1 - (n-c choose k) / (n choose k).

    Args:
        repeats: Scores of each sample's answers, 0 to 1; the numbers of answers may differ.
        k: Answers that one may try.

    Raises:
        ValueError: No sample, or one with fewer than `k` answers.

    Source: Chen et al. 2021, arXiv:2107.03374, equation 1.
    """
    _check(repeats, k)
    return fmean(1.0 - _all_among(len(scores), len(scores) - _right(scores), k) for scores in repeats)


def pass_all(repeats: Sequence[Sequence[float]], k: int) -> float:
    """pass^k: chance that all of k answers to a sample are right, mean over the samples.

    Unbiased from n >= k answers of which c are right: (c choose k) / (n choose k). Arguments and errors as `pass_at`.

    Source: Yao et al. 2024, arXiv:2406.12045, section 4.
    """
    _check(repeats, k)
    return fmean(_all_among(len(scores), _right(scores), k) for scores in repeats)


def _right(scores: Sequence[float]) -> int:
    return sum(score == 1.0 for score in scores)


def _all_among(total: int, marked: int, k: int) -> float:
    """Chance that k drawn from `total` are all among the `marked` ones."""
    return math.comb(marked, k) / math.comb(total, k)


def _check(repeats: Sequence[Sequence[float]], k: int) -> None:
    if k < 1 or not repeats:
        raise ValueError(f"`k` is `{k}` over `{len(repeats)}` samples; both must be at least 1.")
    fewest = min(map(len, repeats))
    if fewest < k:
        raise ValueError(f"A sample has `{fewest}` answers where `{k}` are needed. Raise the task's `repeats`.")


def noise_floor(first: Sequence[float | None], again: Sequence[float | None]) -> NoiseFloor | None:
    """How much the same model's scores differ when it is asked again; None where no sample was scored twice.

    Args:
        first: Scores of the first answers, None where there is none.
        again: Scores of the second ones, the same samples in the same order.

    Raises:
        ValueError: The lengths differ.
    """
    pairs = [(a, b) for a, b in zip(first, again, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    return NoiseFloor(
        samples=len(pairs),
        changed=sum(a != b for a, b in pairs) / len(pairs),
        mean_absolute=fmean(abs(a - b) for a, b in pairs),
    )

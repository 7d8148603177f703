"""The mean that people would have given, from few of their labels and many scores of a judge (PPI++)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_LABELS = 3
"""The interval needs a variance with two parameters taken off."""


class Corrected(NamedTuple):
    """A mean as people would have given it, and its interval."""

    estimate: float
    low: float
    high: float
    weight: float
    """How far the judge was trusted: 0, its scores were left aside; 1, it was taken as it is. PPI++ calls it lambda."""


def ppi_mean(
    labels: Sequence[float],
    judge_on_labelled: Sequence[float],
    judge_on_rest: Sequence[float],
    confidence: float = 0.95,
) -> Corrected:
    """Estimate the mean label over all samples. Right however bad the judge is: it can only fail to help.

    The mean of the judge's scores over the rest, less what the labels show the judge to be off, with the judge's
    weight chosen to make the interval short: (rest - judge) * weight + labels.

    Args:
        labels: People's scores, of samples drawn at random from all.
        judge_on_labelled: The judge's scores of the same samples, in the same order and unit.
        judge_on_rest: The judge's scores of all other samples.
        confidence: Chance that the interval holds the true mean, for a number of labels that was fixed beforehand.

    Raises:
        ValueError: Fewer than three labels, another number of scores than of labels, or no such confidence.

    Source: Angelopoulos, Duchi & Zrnic 2023, "PPI++: Efficient Prediction-Powered Inference", arXiv:2311.01453,
        sections 2 and 6; the weight as in their ppi-python 0.2.3. Theirs is for many labels: with few, the normal
        quantile and the plain variance cover too rarely, so here two degrees of freedom (mean and weight) are taken
        off and the quantile is Student's.
    """
    y: Floats = np.asarray(labels, dtype=np.float64)
    judged: Floats = np.asarray(judge_on_labelled, dtype=np.float64)
    rest: Floats = np.asarray(judge_on_rest, dtype=np.float64)
    n, unlabelled = len(y), len(rest)
    if n < FEWEST_LABELS:
        raise ValueError(f"{n} labels; at least {FEWEST_LABELS} are needed.")
    if len(judged) != n:
        raise ValueError(f"{n} labels, but {len(judged)} scores of the judge on them.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` is `{confidence}`; it must lie above 0 and below 1.")
    weight = 0.0
    if unlabelled and (spread := float(np.var(np.concatenate([judged, rest]), ddof=1))) > 0.0:
        together = float(np.dot(y - y.mean(), judged - judged.mean())) / n
        weight = min(1.0, max(0.0, together / ((1.0 + n / unlabelled) * spread)))
    estimate = float(np.mean(y - weight * judged))
    variance = float(np.var(y - weight * judged)) / (n - 2)
    if weight > 0.0:
        estimate += weight * float(rest.mean())
        variance += weight**2 * float(np.var(rest)) / unlabelled
    half = student_quantile(0.5 + confidence / 2, n - 2) * math.sqrt(variance)
    return Corrected(estimate, estimate - half, estimate + half, weight)


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t: exact for 1 and 2 degrees of freedom, from 5 on right to 1 % for 95 % intervals.

    Source: Abramowitz & Stegun 26.7.5, to its third term.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        above = 2.0 * probability - 1.0
        return above * math.sqrt(2.0 / (1.0 - above**2))
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3

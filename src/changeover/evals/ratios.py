"""What answers take, candidate over incumbent, with intervals for a number of samples that was fixed beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Literal

from changeover.evals.familiar import t_quantile
from changeover.evals.report.record import Ratio

_MISSED = 0.05
"""Chance that an interval misses."""
_FEWEST = 6
"""Below this the smallest and the largest of the ratios do not make a 95 % interval of the median: 2 / 2^5 > 5 %."""


def median_ratio(
    name: Literal["latency", "length"], incumbent: Sequence[float | None], candidate: Sequence[float | None]
) -> Ratio | None:
    """Median of each sample's ratio, with an interval that assumes nothing of the distribution.

    The interval reaches from one order statistic of the ratios to another, chosen by the binomial distribution so that
    it misses the median with chance at most 5 %.

    Args:
        name: What is compared: `latency` in ms, `length` in tokens.
        incumbent: One value for each sample; None where there is no answer.
        candidate: The same, in the same order.

    Returns:
        None with fewer than 6 samples on which both have a value and the incumbent's is above 0.

    Source: Conover 1999, "Practical Nonparametric Statistics", section 3.2.
    """
    pairs = _both(incumbent, candidate)
    if len(pairs) < _FEWEST:
        return None
    ratios = sorted(over / under for under, over in pairs)
    rank = _order_statistic(len(ratios))
    return Ratio(
        name=name,
        unit="ms" if name == "latency" else "tokens",
        incumbent=median(under for under, _ in pairs),
        candidate=median(over for _, over in pairs),
        ratio=median(ratios),
        low=ratios[rank],
        high=ratios[-1 - rank],
    )


def cost_ratio(incumbent: Sequence[float | None], candidate: Sequence[float | None]) -> Ratio | None:
    """Ratio of the mean costs in USD: what the bill will be, which long answers weigh in by what they cost.

    The interval is the delta method on the logarithm of the ratio, with the pairs' covariance and Student's t. It is
    never negative and always finite, where Fieller's may be the whole line.

    Returns:
        None with fewer than 6 samples on which both costs are known and the incumbent's is above 0, or where the
        candidate costs nothing.
    """
    pairs = _both(incumbent, candidate)
    if len(pairs) < _FEWEST or not any(over for _, over in pairs):
        return None
    under, over = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    # Of log(over / under), each sample moves the estimate by b / over - a / under.
    squares = math.fsum((b / over - a / under) ** 2 for a, b in pairs)
    error = math.sqrt(squares / (len(pairs) - 1) / len(pairs))
    half = t_quantile(1.0 - _MISSED / 2.0, len(pairs) - 1) * error
    return Ratio(
        name="cost",
        unit="USD",
        incumbent=under,
        candidate=over,
        ratio=over / under,
        low=over / under * math.exp(-half),
        high=over / under * math.exp(half),
    )


def _both(incumbent: Sequence[float | None], candidate: Sequence[float | None]) -> list[tuple[float, float]]:
    """Pairs of which a ratio can be taken."""
    return [
        (under, over)
        for under, over in zip(incumbent, candidate, strict=True)
        if under is not None and over is not None and under > 0.0 and over >= 0.0
    ]


def _order_statistic(count: int) -> int:
    """The largest rank r, from 0, for which a fair coin gives at most r heads with chance at most 2.5 %."""
    tail, rank = 0.0, -1
    while True:
        log_ways = math.lgamma(count + 1) - math.lgamma(rank + 2) - math.lgamma(count - rank)
        tail += math.exp(log_ways - count * math.log(2.0))
        if tail > _MISSED / 2.0:
            return rank
        rank += 1

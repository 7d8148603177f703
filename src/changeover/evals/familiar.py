"""The test that people know, beside a verdict: McNemar's for right or wrong, a paired t for graded or clustered scores.

Right for one look at a number of samples fixed beforehand, not for a comparison that its own evidence stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

from changeover.evals.report.record import Familiar

_TINY = 1e-300
_CONVERGED = 1e-15


def familiar(differences: Sequence[float], clusters: Sequence[str | None]) -> Familiar | None:
    """The usual two-sided test for no difference, with its 95 % interval.

    McNemar's mid-p test with the adjusted Wald interval (Bonett & Price 2012, doi:10.3102/1076998611411915) where every
    difference is -1, 0 or 1 and no two samples share a cluster; otherwise the paired t whose standard error respects
    clusters (Miller 2024, arXiv:2411.00640, section 2.2; with the factor G / (G - 1) and G - 1 degrees of freedom for G
    clusters).

    Args:
        differences: Candidate minus incumbent, one for each usable sample, -1 to 1.
        clusters: The cluster of each, None for a sample on its own.

    Returns:
        None with fewer than two observations.
    """
    names = [number if cluster is None else cluster for number, cluster in enumerate(clusters)]
    groups: dict[int | str, list[float]] = {}
    for name, difference in zip(names, differences, strict=True):
        groups.setdefault(name, []).append(difference)
    if len(groups) < 2:
        return None
    clustered = len(groups) < len(differences)
    if not clustered and all(difference in (-1.0, 0.0, 1.0) for difference in differences):
        return _mcnemar(sum(d > 0.0 for d in differences), sum(d < 0.0 for d in differences), len(differences))
    return _paired_t(list(groups.values()), "paired t, clustered" if clustered else "paired t")


def _mcnemar(gained: int, lost: int, samples: int) -> Familiar:
    wins, losses = (gained + 1) / (samples + 2), (lost + 1) / (samples + 2)
    middle = wins - losses
    half = NormalDist().inv_cdf(0.975) * math.sqrt((wins + losses - middle**2) / (samples + 2))
    return Familiar(
        name="McNemar mid-p",
        p_value=mcnemar_mid_p(gained, lost),
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
    )


def _paired_t(groups: Sequence[Sequence[float]], name: str) -> Familiar:
    total, degrees = sum(map(len, groups)), len(groups) - 1
    mean = fmean(difference for group in groups for difference in group)
    squares = math.fsum(math.fsum(difference - mean for difference in group) ** 2 for group in groups)
    error = math.sqrt(squares * len(groups) / degrees) / total
    if error < 1e-12:  # every cluster alike: t is 0 / 0 or endless
        return Familiar(name=name, p_value=1.0 if abs(mean) < 1e-12 else 0.0, low=mean, high=mean)
    half = t_quantile(0.975, degrees) * error
    return Familiar(
        name=name,
        p_value=2.0 * t_tail(abs(mean) / error, degrees),
        low=max(-1.0, mean - half),
        high=min(1.0, mean + half),
    )


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p value of McNemar's test.

    Args:
        gained: Samples that only the candidate got right.
        lost: Samples that only the incumbent got right.

    Source: Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"Counts cannot be negative: gained `{gained}`, lost `{lost}`.")
    total, fewer = gained + lost, min(gained, lost)
    logs = [_log_half_binomial(total, count) for count in range(fewer + 1)]
    tail = math.fsum(math.exp(value) for value in logs)
    return min(1.0, 2.0 * tail - math.exp(logs[-1])) if total else 1.0


def _log_half_binomial(total: int, count: int) -> float:
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return ways - total * math.log(2.0)


def t_tail(t: float, degrees: float) -> float:
    """Chance that Student's t exceeds `t`, 0 or more: half the incomplete beta function at df / (df + t^2)."""
    if t < 0.0 or degrees <= 0.0:
        raise ValueError(f"`t` is `{t}` with `{degrees}` degrees of freedom; both must be above 0.")
    return 0.5 * _incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))


def t_quantile(chance: float, degrees: float) -> float:
    """The value that Student's t stays below with this chance, 0.5 to 1, by bisection of `t_tail`."""
    if not 0.5 <= chance < 1.0:
        raise ValueError(f"`chance` is `{chance}`; it must lie in 0.5 to 1.")
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > 1.0 - chance:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_tail(middle, degrees) > 1.0 - chance else (low, middle)
    return 0.5 * (low + high)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function by its continued fraction, DLMF 8.17.22, evaluated after Lentz."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            fraction *= c * d
        if abs(c * d - 1.0) < _CONVERGED:
            break
    return front * fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY

"""An interval of the mean paired difference that stays right however often it is looked at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID_STEP = 0.0025
"""Resolution of the bounds, as a share of the score range: a quarter of a point."""
BET_CAP = 0.75
"""Largest share of the capital that one sample may cost."""
_SURE = 1e-9
"""Beyond rounding: by how much a total must exceed what a mean allows to rule it out for good."""
PRIOR_VARIANCE = 0.25
"""Variance of the differences before any sample; counts as one sample."""


class DifferenceInterval:
    """Follow the mean of paired differences: P(the interval ever misses the true mean) <= 1 - confidence.

    For every candidate mean on a grid two gamblers bet, one that the mean is higher and one that it is lower, each with
    half the capital. A mean is ruled out once one of them has made 2 / (1 - confidence) of his. Bets depend on earlier
    samples only. What was ruled out stays ruled out.

    With `pool` it is about the mean over so many observations, drawn without replacement: what a candidate mean leaves
    for those still to draw is then known, and the last one leaves no doubt.

    Source: hedged capital with predictable plug-in bets, Waudby-Smith & Ramdas 2024, "Estimating means of bounded
    random variables by betting", doi:10.1093/jrsssb/qkad009, sections 4.4 and 5.
    """

    def __init__(self, confidence: float = 0.95, pool: int | None = None) -> None:
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"`confidence` is `{confidence}`; it must lie above 0 and below 1.")
        if pool is not None and pool < 1:
            raise ValueError(f"`pool` is `{pool}`; it must be at least 1, or None for a population.")
        self.confidence = confidence
        self.pool = pool
        self._bar = math.log(2.0 / (1.0 - confidence))
        steps = round(2.0 / GRID_STEP)
        self._means: Floats = np.linspace(-1.0, 1.0, steps + 1)
        self._log_higher: Floats = np.zeros(steps + 1)
        self._log_lower: Floats = np.zeros(steps + 1)
        self._sum = 0.0
        self._unscored = 0
        self._squared_errors = 0.0
        self._left_if_least = self._left_if_most = self._means
        """What each candidate mean leaves for the next observation, if those not scored were -1, or were 1."""
        self.samples = 0
        self.low = -1.0
        self.high = 1.0

    def update(self, difference: float | None) -> tuple[float, float]:
        """Add one paired difference and return the interval, (low, high).

        Args:
            difference: Candidate minus incumbent. None, which could not be scored, says nothing of a population; of a
                pool it is taken for the worst in each direction.

        Raises:
            ValueError: The difference is not a number in [-1, 1], or the pool is used up. Nothing was added.
        """
        if difference is not None and not -1.0 <= difference <= 1.0:
            raise ValueError(f"Difference `{difference}` is not in -1 to 1: scores must lie in 0 to 1.")
        if difference is None and self.pool is None:
            return self.low, self.high
        if self.samples == self.pool:
            raise ValueError(f"All `{self.pool}` observations of the pool were drawn.")
        bet = self._plug_in_bet()
        least, most = (-1.0, 1.0) if difference is None else (difference, difference)
        with np.errstate(divide="ignore"):  # at -1 and 1 nothing can be lost, so no bet is too large
            higher = np.minimum(bet, BET_CAP / (1.0 + self._left_if_least))
            lower = np.minimum(bet, BET_CAP / (1.0 - self._left_if_most))
        self._log_higher += np.log1p(higher * (least - self._left_if_least))
        self._log_lower += np.log1p(-lower * (most - self._left_if_most))
        self.samples += 1
        if difference is None:
            self._unscored += 1
        else:
            self._sum += difference
            scored = self.samples - self._unscored
            self._squared_errors += (difference - self._sum / (scored + 1)) ** 2
        if self.pool is not None:
            self._look_at_what_is_left(self.pool)
        self._narrow()
        return self.low, self.high

    def _look_at_what_is_left(self, pool: int) -> None:
        """Rule out the means that what is left to draw can no longer make true, and see what others leave for it."""
        least, most, left = self._sum - self._unscored, self._sum + self._unscored, pool - self.samples
        self._log_higher[self._means * pool < least - left - _SURE] = np.inf
        self._log_lower[self._means * pool > most + left + _SURE] = np.inf
        if left:
            self._left_if_least = np.clip((self._means * pool - least) / left, -1.0, 1.0)
            self._left_if_most = np.clip((self._means * pool - most) / left, -1.0, 1.0)

    def _plug_in_bet(self) -> float:
        """Bet that suits the variance seen so far; shrinks like 1/sqrt(t log t)."""
        upcoming = self.samples - self._unscored + 1
        variance = (PRIOR_VARIANCE + self._squared_errors) / upcoming
        return math.sqrt(2.0 * self._bar / (variance * upcoming * math.log(1.0 + upcoming)))

    def _narrow(self) -> None:
        """Intersect with what is not ruled out now, widened to the next grid points.

        The gambler on a higher mean earns less the higher the candidate mean, the other the reverse, so what is left
        is always one stretch of the grid; a mean between two grid points is never lost with both.
        """
        last = len(self._means) - 1
        first_left = int(np.count_nonzero(self._log_higher >= self._bar))
        last_left = last - int(np.count_nonzero(self._log_lower >= self._bar))
        low = max(self.low, float(self._means[max(first_left - 1, 0)]))
        high = min(self.high, float(self._means[min(last_left + 1, last)]))
        if low <= high:  # contradictory evidence has chance at most 1 - confidence; the last interval is then kept
            self.low, self.high = low, high

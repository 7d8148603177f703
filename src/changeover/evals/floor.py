"""The floor: a mean score below which nobody answers a task, however bad the incumbent is."""

from __future__ import annotations

from statistics import fmean
from typing import Literal

from changeover.evals.interval import DifferenceInterval

Standing = Literal["above", "reached", "open", "below"]
"""`above` and `below`: surely, by an interval that is right at every look. `reached`: the mean is, so far; `open`: it is
not, so far."""


class Floor:
    """Follow the candidate's scores against a floor.

    Whoever is looked at after every sample touches any floor that is near some time, so that a mean that has `reached` it
    decides nothing before the last sample; then it does. Only `above` and `below` may end a comparison before.
    """

    def __init__(self, floor: float | None) -> None:
        """Begin without a score.

        Args:
            floor: Share of the score, 0 to 1; None: there is none, and everything is above it.
        """
        self.floor = floor
        self._interval = DifferenceInterval()
        self._scores: list[float] = []
        self._cluster: str | None = None
        self._waiting: list[float] = []

    @property
    def mean(self) -> float:
        """Of all scores so far; 0 before the first."""
        return fmean(self._scores) if self._scores else 0.0

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of the mean."""
        return (self._interval.high + 1.0) / 2.0

    @property
    def low(self) -> float:
        """Lower end of it."""
        return (self._interval.low + 1.0) / 2.0

    @property
    def standing(self) -> Standing:
        """How the candidate stands."""
        if self.floor is None or self.low >= self.floor:
            return "above"
        if self.high < self.floor:
            return "below"
        return "reached" if self.mean >= self.floor else "open"

    def add(self, score: float, cluster: str | None) -> Standing:
        """Count the candidate's score on the next sample that could be scored for both."""
        if self.floor is None:
            return "above"
        self._scores.append(score)
        if cluster is None or cluster != self._cluster:
            self._close_cluster()
        self._cluster = cluster
        self._waiting.append(score)
        if cluster is None:
            self._close_cluster()
        return self.standing

    def _close_cluster(self) -> None:
        """Samples of one conversation or document are one observation: they are not independent of each other."""
        if self._waiting:
            self._interval.update(2.0 * fmean(self._waiting) - 1.0)
            self._waiting = []

"""The floor: a mean score below which nobody answers a task, however bad the incumbent is."""

from __future__ import annotations

from statistics import fmean
from typing import Literal

from changeover.evals.interval import DifferenceInterval

Standing = Literal["above", "open", "below"]


class Floor:
    """Follow the candidate's scores against a floor.

    `below` is said once an interval that is right at every look lies under it. `above` is the mean itself: a floor says
    what was seen on the organisation's own cases, and no more. In between it is open, and nobody passes.
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
    def standing(self) -> Standing:
        """How the candidate stands."""
        if self.floor is None:
            return "above"
        if self.high < self.floor:
            return "below"
        return "above" if self.mean >= self.floor else "open"

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

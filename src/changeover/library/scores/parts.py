"""What a score is made of: parts with a weight, a value or none, and where each was read. Both scores use it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

ENOUGH: Final = 0.25
"""Confidence below which a score is shown, and is held against no other."""
FRESH: Final = timedelta(days=90)
"""A signal that is older counts half towards the confidence, and so does one without a date."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One input of a score."""

    name: str
    weight: float
    """Percent of the score."""
    value: float | None
    """0 to 1; None: no data, which is not 0."""
    says: str
    """What was read, or why there is nothing, in words."""
    source: str | None = None
    as_of: date | None = None
    """When it was so."""
    stale: bool = False
    """Whether it is a signal from longer ago than `FRESH`, or from nobody knows when."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """0 to 100, by what is known."""

    model: str
    parts: tuple[Part, ...]

    @property
    def value(self) -> float | None:
        """The weighted mean of the parts that have data, times 100; None where none has any."""
        points = [points for part in self.parts if (points := self.points(part)) is not None]
        return sum(points) if points else None

    @property
    def confidence(self) -> float:
        """Share of the weight that had data, 0 to 1; old signals count half."""
        whole = sum(part.weight for part in self.parts)
        return sum(part.weight * (0.5 if part.stale else 1.0) for part in self._known) / whole

    def points(self, part: Part) -> float | None:
        """What one part contributes to the value; None where it has no data."""
        if part.value is None:
            return None
        return 100 * part.weight * part.value / sum(known.weight for known in self._known)

    @property
    def _known(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.value is not None)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Something that no score may average away."""

    name: str
    says: str
    source: str | None = None


def is_stale(as_of: date | None, today: date) -> bool:
    """Whether a signal is too old to count in full."""
    return as_of is None or today - as_of > FRESH

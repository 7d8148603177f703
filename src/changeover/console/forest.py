"""Differences with their intervals as small bars on one scale, a line of a table each: a forest, as meta-analyses draw it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from changeover.console.said import said
from changeover.evals.report.words import interval, points

WIDTH, HEIGHT = 144, 20
MIDDLE, REACH = WIDTH / 2, WIDTH / 2 - 6
ROUND = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Ends that a scale may have, as shares of the score."""
HELD = 0.8
"""Share of the intervals that a scale holds whole: a few very wide ones would leave the others no room."""


@dataclass(frozen=True, kw_only=True)
class Forest:
    """The scale that all bars of a table share."""

    end: float
    """Share of the score at its right end; the left one is as far."""
    language: str
    """Of what is said to those who cannot see it."""

    @classmethod
    def over(cls, intervals: Iterable[tuple[float, float]], language: str) -> Forest:
        """A scale on which most of them fit."""
        reaches = sorted(max(abs(low), abs(high)) for low, high in intervals)
        wanted = reaches[math.ceil(HELD * len(reaches)) - 1] if reaches else ROUND[0]
        return cls(end=next((end for end in ROUND if end >= wanted), 1.0), language=language)

    def _x(self, share: float) -> float:
        return round(MIDDLE + max(-1.0, min(1.0, share / self.end)) * REACH, 1)

    def axis(self) -> Markup:
        """The scale itself, for the head of the column."""
        ends = ((-self.end, "start"), (0.0, "middle"), (self.end, "end"))
        marks = Markup("").join(
            Markup('<text x="{}" y="11" text-anchor="{}">{}</text>').format(
                {"start": 0, "middle": MIDDLE, "end": WIDTH}[anchor], anchor, points(share, digits=0)
            )
            for share, anchor in ends
        )
        return Markup('<svg class="forest axis" viewBox="0 0 {} 14" aria-hidden="true">{}</svg>').format(WIDTH, marks)

    def bar(self, difference: float, low: float, high: float, *, margin: float | None = None) -> Markup:
        """A difference as a dot, its interval as a line through it; an end beyond the scale is an arrow's head.

        Args:
            difference: Candidate minus incumbent, as a share of the score.
            low: Where its interval begins.
            high: Where that ends.
            margin: Accepted loss, where it is shown.
        """
        look = "gain" if low > 0 else "loss" if high < 0 else "even"
        says = said(self.language, f"{points(difference)} points, interval {interval(low, high)}")
        parts = [Markup('<line class="zero" x1="{0}" x2="{0}" y1="1" y2="{1}"/>').format(MIDDLE, HEIGHT - 1)]
        if margin is not None and margin < self.end:
            parts.append(
                Markup('<line class="margin" x1="{0}" x2="{0}" y1="3" y2="{1}"/>').format(self._x(-margin), HEIGHT - 3)
            )
        left, right, half = self._x(low), self._x(high), HEIGHT / 2
        parts.append(
            Markup('<line class="reach {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(look, left, right, half, half)
        )
        for share, x, way in ((low, left, 1), (high, right, -1)):
            if abs(share) > self.end and (share > 0) == (way < 0):
                parts.append(
                    Markup('<path class="reach {}" d="M{} {}l{} -3.5M{} {}l{} 3.5"/>').format(
                        look, x, half, 4.5 * way, x, half, 4.5 * way
                    )
                )
            else:
                parts.append(
                    Markup('<line class="reach {0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>').format(
                        look, x, half - 3, half + 3
                    )
                )
        parts.append(Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.4"/>').format(look, self._x(difference), half))
        return Markup('<svg class="forest" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, HEIGHT, says, Markup("").join(parts)
        )

"""What pictures are made of: scales, ticks, labels that do not cover each other, and an SVG under construction."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from changeover.evals.report.language import ENGLISH, Language
from changeover.evals.report.words import visible

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Puts values on a line of pixels. What lies outside is drawn at the end."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        held = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            low, high, held = math.log(low), math.log(high), math.log(held)
        share = (held - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Round values from low to high, at most `most` of them, in steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next((nice * power for nice in (1, 2, 5, 10) if span / (nice * power) <= most - 1), 20 * power)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as needed so that neighbours are `gap` apart and all lie within low to high.

    The order of the places is kept. Where there is no room for all, the last ones lie over `low`.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    bound = low
    for index in order:
        moved[index] = max(moved[index], bound)
        bound = moved[index] + gap
    bound = high
    for index in reversed(order):
        moved[index] = min(moved[index], bound)
        bound = moved[index] - gap
    return moved


def thin(points: Sequence[Point], columns: int) -> list[Point]:
    """A line with at most four points for each column of pixels, which looks the same: first, lowest, highest, last.

    Source: M4, Jugel et al. 2014, "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10).
    """
    if len(points) <= 4 * columns:
        return list(points)
    start, width = points[0][0], (points[-1][0] - points[0][0]) / columns
    kept: list[Point] = []
    numbered = [(min(int((point[0] - start) / width), columns - 1), index) for index, point in enumerate(points)]
    for _, group in groupby(numbered, key=lambda pair: pair[0]):
        inside = [index for _, index in group]
        low = min(inside, key=lambda index: points[index][1])
        high = max(inside, key=lambda index: points[index][1])
        kept.extend(points[index] for index in sorted({inside[0], low, high, inside[-1]}))
    return kept


def fit(text: str, pixels: float, font_size: float) -> str:
    """Text that is not wider than so many pixels, by a guess that suits sans-serif fonts."""
    room = pixels / font_size
    for index, character in enumerate(text):
        room -= 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.56
        if room < 0:
            return text[: max(index - 1, 1)] + "…"
    return text


class Drawing:
    """An SVG under construction. Looks are classes, which the page's style sheet gives their colours."""

    def __init__(
        self,
        width: float,
        height: float,
        *,
        name: str,
        title: str,
        description: str,
        language: Language = ENGLISH,
    ) -> None:
        self.width = width
        self.height = height
        self.name = name
        """Unique on the page: prefix of the ids inside."""
        self.said = language.said
        self._title = language.said(title)
        self._description = language.said(description)
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        self._add(f'<line class="{look}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def path(self, points: Iterable[Point], look: str, *, closed: bool = False, clip: bool = False) -> None:
        steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        end = "Z" if closed else ""
        clipped = f' clip-path="url(#{self.name}-clip)"' if clip else ""
        self._add(f'<path class="{look}" d="M{steps}{end}"{clipped}/>')

    def boxes(self, corners: Iterable[Point], width: float, height: float, look: str) -> None:
        """Equal boxes, given by their upper left corners."""
        steps = "".join(f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h{_n(-width)}z" for x, y in corners)
        self._add(f'<path class="{look}" d="{steps}"/>')

    def box(self, x: float, y: float, width: float, height: float, look: str) -> None:
        self._add(f'<rect class="{look}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>')

    def dot(self, x: float, y: float, radius: float, look: str) -> None:
        self._add(f'<circle class="{look}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>')

    def text(self, x: float, y: float, text: str, look: str = "", *, anchor: str = "start") -> None:
        """Write words of ours, whose baseline starts, has its middle or ends at a point."""
        self.name_of(x, y, self.said(text), look, anchor=anchor)

    def name_of(self, x: float, y: float, text: str, look: str = "", *, anchor: str = "start") -> None:
        """Write a text that stays as it is in every language."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        css = f' class="{look}"' if look else ""
        self._add(f'<text{css} x="{_n(x)}" y="{_n(y)}"{where}>{escape(visible(text))}</text>')

    def clip(self, x: float, y: float, width: float, height: float) -> None:
        """Set the area that paths drawn with `clip` are kept in."""
        inner = f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>'
        self._add(f'<clipPath id="{self.name}-clip">{inner}</clipPath>')

    def svg(self) -> str:
        """The picture, with its title and description for those who cannot see it."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'aria-labelledby="{self.name}-title {self.name}-desc">'
            f'<title id="{self.name}-title">{escape(visible(self._title))}</title>'
            f'<desc id="{self.name}-desc">{escape(visible(self._description))}</desc>{"".join(self._parts)}</svg>'
        )

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")

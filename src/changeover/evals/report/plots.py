"""The report's pictures: pure functions from figures to SVG. `html.py` puts them on the page.

Hue says which side something speaks for (class `gain`: the candidate, `loss`: the incumbent), and a label or a sign
always says it too. Each picture is drawn for the width it is shown at, so that its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from changeover.evals.report.axes import Drawing, Point, Scale, apart, fit, thin, ticks
from changeover.evals.report.language import ENGLISH, Language
from changeover.evals.report.words import count, interval, needed, odds, percent, points, several, size

FONT = 12.0
"""Size of the labels in pixels; the style sheet sets the same."""
FLOOR, CEILING = 1e-2, 1e8
"""E-values outside are drawn at the edge: which of two hopeless bets is worse tells nobody anything."""
NARROW = 420.0
"""Below this width there is no room for figures beside names."""

_SQUARES = ((90, 13.0), (260, 9.0), (700, 6.0))
"""Up to so many samples: the side of the square of one sample. Beyond, bars."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was known after so many observations."""

    observations: int
    mean: float
    """Mean difference so far."""
    low: float
    high: float
    no_worse: float
    futility: float
    better: float
    worse: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The moment at which something was shown."""

    observations: int
    e_value: float
    """Of the process that showed it."""
    word: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a forest plot."""

    name: str
    samples: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """So many samples ended alike."""

    name: str
    samples: int
    look: str
    """Class: `gain`, `loss`, `even` or `hollow`."""


_CURVES = (
    ("no_worse", "no worse", "gain"),
    ("better", "better", "gain dashed"),
    ("futility", "not as good", "loss"),
    ("worse", "worse", "loss dashed"),
)


def evidence(
    steps: Sequence[Step],
    *,
    alpha: float,
    beta: float,
    marks: Sequence[Mark],
    width: float,
    name: str = "evidence",
    language: Language = ENGLISH,
) -> str:
    """E-values of the four claims over the observations, on a log axis, with the bounds that decide.

    Args:
        steps: In order of observations, without the start, where all are 1. At least one.
        alpha: Error rate of a pass; the bound is its inverse.
        beta: Error rate of a fail, likewise.
        marks: Where the verdict fell, and where more was shown later.
        width: Pixels.
        name: Unique on the page.
        language: Of its words.
    """
    last = steps[-1]
    ends = {attribute: float(getattr(last, attribute)) for attribute, _, _ in _CURVES}
    drawing = Drawing(
        width,
        314,
        name=name,
        language=language,
        title="Evidence over samples",
        description=f"After {several(last.observations, 'observation')} the evidence is: "
        + ", ".join(f"{claim} {odds(ends[attribute])}" for attribute, claim, _ in _CURVES)
        + f". {needed(alpha)} is needed for no worse, better and worse, {needed(beta)} for not as good.",
    )
    narrow = width < NARROW
    left, right, bottom = 46.0, width - (78 if narrow else 132), 278.0
    top = 14.0 + 15 * len(marks)
    highest = max(1 / alpha, 1 / beta, *(max(step.no_worse, step.better, step.futility, step.worse) for step in steps))
    up = Scale(low=FLOOR, high=_decade(min(1.4 * highest, CEILING)), start=bottom, end=top, log=True)
    along = Scale(low=0, high=last.observations, start=left, end=right)
    for exponent in range(-2, round(math.log10(up.high)) + 1):
        level = up(10.0**exponent)
        drawing.line(left, level, right, level, "even-odds" if exponent == 0 else "grid")
        label = f"{10**exponent:,} : 1" if exponent >= 0 else f"1 : {10**-exponent}"
        if exponent > 3:
            label = f"10{_raised(exponent)} : 1"
        drawing.text(left - 6, level + 4, label, "tick", anchor="end")
    _observation_axis(drawing, along, bottom)
    _bounds(drawing, up, left, right, alpha, beta, narrow=narrow)
    for attribute, _, look in _CURVES:
        line: list[Point] = [(0.0, 1.0), *((step.observations, float(getattr(step, attribute))) for step in steps)]
        drawing.path(_placed(line, along, up), f"curve {look}")
    for index, mark in enumerate(marks):
        x, y = along(mark.observations), up(mark.e_value)
        # Above the curves, each on a line of its own: two moments may lie side by side.
        level = 12.0 + 15 * index
        drawing.line(x, level + 4, x, bottom, "mark")
        drawing.dot(x, y, 4.5, "spot")
        after = drawing.said(f"{mark.word} after {count(mark.observations)}")
        roomy = x - left > 6.2 * len(after)
        drawing.name_of(x + 3 if roomy else left, level, after, "strong", anchor="end" if roomy else "start")
    wanted = [up(ends[attribute]) + 4 for attribute, _, _ in _CURVES]
    for (attribute, claim, look), y in zip(_CURVES, apart(wanted, 15, top + 4, bottom + 2), strict=True):
        label = claim if narrow else f"{claim} {odds(ends[attribute])}"
        drawing.text(right + 9, y, label, f"label {look}")
    return drawing.svg()


def _bounds(drawing: Drawing, up: Scale, left: float, right: float, alpha: float, beta: float, *, narrow: bool) -> None:
    first, second = f"{needed(alpha)} decides", f"{needed(beta)} for “not as good”"
    if alpha == beta:
        drawing.line(left, up(1 / alpha), right, up(1 / alpha), "bound")
        drawing.text(left + 5, up(1 / alpha) - 5, first, "note")
        return
    if not narrow:
        first += " “no worse”, “better”, “worse”"
    above_first = alpha < beta
    for rate, label, above in ((alpha, first, above_first), (beta, second, not above_first)):
        level = up(1 / rate)
        drawing.line(left, level, right, level, "bound" if rate == alpha else "bound lesser")
        drawing.text(left + 5, level - 5 if above else level + 14, label, "note")


def running_difference(
    steps: Sequence[Step],
    *,
    margin: float,
    difference: float,
    width: float,
    adjusted: bool,
    name: str = "difference",
    language: Language = ENGLISH,
) -> str:
    """Mean difference so far with its interval, the line of no difference and that of the accepted loss.

    Args:
        steps: In order of observations, at least one.
        margin: Accepted loss, as a share.
        difference: The estimate at the end, as a share.
        width: Pixels.
        adjusted: Whether the estimate and its interval use more than the plain differences; the line is then named.
        name: Unique on the page.
        language: Of its words.
    """
    last = steps[-1]
    drawing = Drawing(
        width,
        314,
        name=name,
        language=language,
        title="Difference so far",
        description=f"Mean difference after {several(last.observations, 'observation')}: {points(difference)} points, "
        f"95 % anytime-valid interval {interval(last.low, last.high)}. The accepted loss is {size(margin)}.",
    )
    narrow = width < NARROW
    left, right, top, bottom = 46.0, width - (78 if narrow else 132), 14.0, 278.0
    settled = steps[min(len(steps) - 1, len(steps) // 6) :]
    room = [margin, -2 * margin, *(step.low for step in settled), *(step.high for step in settled), difference]
    up = Scale(low=max(-1.0, min(room) - 0.02), high=min(1.0, max(room) + 0.02), start=bottom, end=top)
    along = Scale(low=0, high=last.observations, start=left, end=right)
    drawing.clip(left, top, right - left, bottom - top)
    for level in ticks(up.low, up.high, 7):
        drawing.line(left, up(level), right, up(level), "grid")
        drawing.text(left - 6, up(level) + 4, _tick(level), "tick", anchor="end")
    _observation_axis(drawing, along, bottom)
    highs = _placed([(0.0, 1.0), *((step.observations, step.high) for step in steps)], along, up)
    lows = _placed([(0.0, -1.0), *((step.observations, step.low) for step in steps)], along, up)
    drawing.path([*highs, *reversed(lows)], "band", closed=True, clip=True)
    drawing.path(highs, "band-edge", clip=True)
    drawing.path(lows, "band-edge", clip=True)
    drawing.line(left, up(0), right, up(0), "even-odds")
    drawing.line(left, up(-margin), right, up(-margin), "bound lesser")
    line = _placed([(step.observations, step.mean) for step in steps], along, up)
    drawing.path(line, "curve ink thin" if adjusted else "curve ink", clip=True)
    drawing.dot(right, up(difference), 4.5, "spot")
    labels = [
        (up(last.high), points(last.high), "label"),
        (up(last.low), points(last.low), "label"),
        (up(difference), points(difference) if narrow else f"{points(difference)} points", "strong"),
        (up(0), "equal", "note"),
        (up(-margin), "margin" if narrow else f"{_tick(-margin)} margin", "note"),
    ]
    places = apart([y + 4 for y, _, _ in labels], 14, top + 4, bottom + 4)
    for (_, text, look), y in zip(labels, places, strict=True):
        drawing.text(right + 9, y, text, look)
    if adjusted and len(line) > 1:
        x = (left + right) / 2
        above = min((y for at, y in line if abs(at - x) < 40), default=line[-1][1])
        drawing.text(x, max(above, top + 4) - 6, "plain mean", "note", anchor="middle")
    return drawing.svg()


def outcomes(groups: Sequence[Outcome], *, width: float, name: str = "outcomes", language: Language = ENGLISH) -> str:
    """How the pairs of right-or-wrong scores ended: a square for each sample, or bars where they are many."""
    total = sum(group.samples for group in groups)
    side = next((side for most, side in _SQUARES if total <= most), None)
    left = 118.0
    room = width - left - 8
    columns = int(room // (side + 2)) if side else 0
    heights = [max(26.0, math.ceil(group.samples / columns) * (side + 2) + 8) if side else 30.0 for group in groups]
    drawing = Drawing(
        width,
        sum(heights) + 6,
        name=name,
        language=language,
        title="Paired outcomes",
        description=", ".join(f"{group.name}: {several(group.samples, 'sample')}" for group in groups) + ".",
    )
    widest = max((group.samples for group in groups), default=0)
    y = 4.0
    for group, height in zip(groups, heights, strict=True):
        drawing.text(left - 44, y + 15, group.name, f"label {group.look}", anchor="end")
        drawing.text(left - 10, y + 15, count(group.samples), "strong", anchor="end")
        if side and group.samples:
            inset = 0.5 if group.look == "hollow" else 0.0
            top = y + (4 if side > 9 else 6)
            corners = [
                (left + index % columns * (side + 2) + inset, top + index // columns * (side + 2) + inset)
                for index in range(group.samples)
            ]
            drawing.boxes(corners, side - 2 * inset, side - 2 * inset, f"unit {group.look}")
        elif group.samples:
            length = max(1.5, (room - 60) * group.samples / widest)
            drawing.box(left + 0.5, y + 3, length, 16, f"unit {group.look}")
            drawing.text(left + length + 7, y + 15, percent(group.samples / total), "note")
        y += height
    return drawing.svg()


def sorted_differences(
    differences: Sequence[float],
    *,
    margin: float,
    mean: float,
    width: float,
    name: str = "differences",
    language: Language = ENGLISH,
) -> str:
    """Paired differences of graded scores from the largest gain to the largest loss; the areas are what is weighed.

    Args:
        differences: Candidate minus incumbent of each usable sample, as shares, in any order. At least one.
        margin: Accepted loss, as a share.
        mean: Of the differences.
        width: Pixels.
        name: Unique on the page.
        language: Of its words.
    """
    falling = sorted(differences, reverse=True)
    won, lost = sum(value > 0 for value in falling), sum(value < 0 for value in falling)
    even = len(falling) - won - lost
    drawing = Drawing(
        width,
        260,
        name=name,
        language=language,
        title="Paired differences, sorted",
        description=f"Better on {several(won, 'sample')}, equal on {count(even)}, worse on {count(lost)}. "
        f"Largest gain {points(falling[0])}, largest loss {points(falling[-1])}, mean {points(mean)} points.",
    )
    narrow = width < NARROW
    left, right, top, bottom = 46.0, width - (64 if narrow else 96), 14.0, 226.0
    up = Scale(
        low=max(-1.0, min(falling[-1], -2 * margin) * 1.08),
        high=min(1.0, max(falling[0], 2 * margin) * 1.08),
        start=bottom,
        end=top,
    )
    for level in ticks(up.low, up.high, 7):
        drawing.line(left, up(level), right, up(level), "grid")
        drawing.text(left - 6, up(level) + 4, _tick(level), "tick", anchor="end")
    across = Scale(low=0, high=len(falling), start=left, end=right)
    for first, end, look in ((0, won, "gain"), (won + even, len(falling), "loss")):
        if end > first:
            drawing.path(_stairs(falling[first:end], first, across, up), f"unit {look}", closed=True)
    drawing.line(left, up(0), right, up(0), "even-odds")
    drawing.line(left, up(-margin), right, up(-margin), "bound lesser")
    drawing.line(left, up(mean), right, up(mean), "mean")
    labels = [
        (up(mean), f"mean {points(mean)}" if not narrow else points(mean), "strong"),
        (up(-margin), "margin", "note"),
    ]
    for (_, text, look), y in zip(labels, apart([y + 4 for y, _, _ in labels], 14, top, bottom + 4), strict=True):
        drawing.text(right + 7, y, text, look)
    groups = ((0, won, f"{count(won)} better", "gain"), (won, won + even, f"{count(even)} equal", "even"),
              (won + even, len(falling), f"{count(lost)} worse", "loss"))  # fmt: skip
    named = [(across((first + end) / 2), text, look) for first, end, text, look in groups if end > first]
    places = apart([x for x, _, _ in named], 74, left + 30, right - 20)
    for (_, text, look), x in zip(named, places, strict=True):
        drawing.text(x, bottom + 20, text, f"label {look}", anchor="middle")
    return drawing.svg()


def _stairs(values: Sequence[float], first: int, across: Scale, up: Scale) -> list[Point]:
    """Outline of the bars of sorted values; where bars are finer than half a pixel, of the mean of neighbours."""
    at_once = max(1, math.ceil(len(values) / 600))
    outline: list[Point] = [(across(first), up(0))]
    for start in range(0, len(values), at_once):
        group = values[start : start + at_once]
        level = up(sum(group) / len(group))
        outline.append((across(first + start), level))
        outline.append((across(first + start + len(group)), level))
    outline.append((across(first + len(values)), up(0)))
    return outline


def forest(
    rows: Sequence[Row], *, margin: float, width: float, name: str = "forest", language: Language = ENGLISH
) -> str:
    """Differences with their intervals, one line each; the first row stands for all samples and is set apart.

    Args:
        rows: At least one.
        margin: Accepted loss, as a share.
        width: Pixels.
        name: Unique on the page.
        language: Of its words.
    """
    narrow = width < NARROW
    step, head = 24.0, 22.0
    height = head + step * len(rows) + 30
    drawing = Drawing(
        width,
        height,
        name=name,
        language=language,
        title="Difference by slice",
        description="; ".join(
            f"{row.name}, {several(row.samples, 'sample')}: {points(row.difference)} ({interval(row.low, row.high)})"
            for row in rows[:12]
        )
        + (f"; and {len(rows) - 12} more." if len(rows) > 12 else "."),
    )
    left, right = (130.0, width - 48) if narrow else (168.0, width - 138)
    low = min(-2 * margin, *(min(row.low, row.difference) for row in rows))
    high = max(2 * margin, *(max(row.high, row.difference) for row in rows))
    across = Scale(low=max(-1.0, low), high=min(1.0, high), start=left, end=right)
    bottom = head + step * len(rows) + 4
    drawing.text(left - 10, 13, "samples", "tick", anchor="end")
    drawing.text(width - 4, 13, "points" if narrow else "points, 95 % interval", "tick", anchor="end")
    for level in ticks(across.low, across.high, 4 if narrow else 6):
        if abs(level) > 1e-9:
            drawing.line(across(level), head, across(level), bottom, "grid")
        drawing.text(across(level), bottom + 15, _tick(level), "tick", anchor="middle")
    drawing.line(across(0), head, across(0), bottom, "even-odds")
    drawing.line(across(-margin), head, across(-margin), bottom, "bound lesser")
    for index, row in enumerate(rows):
        y = head + step * index + step / 2
        look = "gain" if row.low > 0 else "loss" if row.high < 0 else "ink"
        name_of = drawing.said(row.name) if index == 0 else row.name
        drawing.name_of(0, y + 4, fit(name_of, left - 46, FONT), "strong" if index == 0 else "label")
        drawing.text(left - 10, y + 4, count(row.samples), "tick", anchor="end")
        drawing.line(across(row.low), y, across(row.high), y, f"whisker {look}")
        for end in (row.low, row.high):
            if across.low <= end <= across.high:
                drawing.line(across(end), y - 4, across(end), y + 4, f"whisker {look}")
        drawing.dot(across(row.difference), y, 5 if index == 0 else 4, f"spot {look}")
        figures = points(row.difference)
        if not narrow:
            figures += f"  [{points(row.low, digits=0)}, {points(row.high, digits=0)}]"
        drawing.text(width - 4, y + 4, figures, "strong" if index == 0 else "label", anchor="end")
    if len(rows) > 1:
        drawing.line(0, head + step, width, head + step, "grid")
    return drawing.svg()


def _placed(line: Sequence[Point], along: Scale, up: Scale) -> list[Point]:
    """A line of values as one of pixels, with no more points than can be told apart."""
    return [(along(x), up(y)) for x, y in thin(line, 160)]


def _observation_axis(drawing: Drawing, along: Scale, bottom: float) -> None:
    for tick in ticks(along.low, along.high, 6, whole=True):
        drawing.text(along(tick), bottom + 16, count(round(tick)), "tick", anchor="middle")
    drawing.text((along.start + along.end) / 2, bottom + 33, "observations", "tick", anchor="middle")


def _tick(level: float) -> str:
    """A difference at an axis, in points."""
    whole = abs(100 * level - round(100 * level)) < 1e-6
    return points(level, digits=0 if whole else 1)


def _decade(value: float) -> float:
    return 10.0 ** math.ceil(math.log10(value))


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))

"""The timeline as a picture: lanes of vendors above, versions of indices below. Plain SVG, no script, readable in black and white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from html import escape
from typing import Final

from changeover.library.timeline import Event, IndexVersion, Reversal

WIDTH, LEFT, RIGHT, LANE, TOP = 1100, 195, 30, 46, 50
INK, QUIET, RULE, LOST, WARM = "#1b1f24", "#6b7280", "#e2e5e9", "#b42318", "#b7791f"
CLASSES: Final = {INK: "ink", QUIET: "quiet", LOST: "lost", WARM: "warm"}
"""What texts in these colours are, for a style sheet that has others."""
COLOURS: Final = {
    "released": "#1f6f8b",
    "licence": "#b7791f",
    "retired": "#b42318",
    "moved": "#b7791f",
}
"""Kinds of events with a date that are drawn; colour-blind readers tell them by their shapes."""
LABEL_APART = 8
"""Pixels between two labels on a line."""
CHARACTER = 6.2
"""Pixels of a small letter, about."""


def drawing(happened: Sequence[Event], led: Sequence[IndexVersion], turned: Sequence[Reversal], today: date) -> str:
    """The whole picture, for a file of its own: it brings its colours."""
    title = _text(LEFT, 24, "Releases, licence changes, retirements, moved addresses", size=16, weight="600")
    lanes, height = _lanes(happened, today, TOP, None)
    scales, height = _scales(led, turned, height + 40)
    body = "\n".join((title, *lanes, *scales))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 20}" width="{WIDTH}" '
        f'height="{height + 20}" font-family="system-ui, sans-serif" role="img">\n<title>Timeline of models</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def in_page(happened: Sequence[Event], today: date, models_at: str, said: Callable[[str], str] = str) -> str:
    """The lanes of vendors alone, for a page whose style sheet gives them other colours by their classes.

    Args:
        happened: What is drawn.
        today: Where the axis ends while nothing has a date.
        models_at: A mark leads to the page of its model, which has this before the model's id.
        said: What a sentence of it says in the reader's language.
    """
    lanes, height = _lanes(happened, today, 16, models_at, said)
    body = "\n".join(lanes)
    return f'<svg viewBox="0 0 {WIDTH} {height + 8:.0f}">\n{body}\n</svg>'


def _lanes(
    happened: Sequence[Event], today: date, top: float, models_at: str | None, said: Callable[[str], str] = str
) -> tuple[list[str], float]:
    """Vendors' lanes below each other, with what has no date in words below them; and where they end."""
    dated = [(event, event.on) for event in happened if event.on is not None and event.kind in COLOURS]
    vendors = list(dict.fromkeys(event.vendor for event, _ in sorted(dated, key=lambda each: each[1])))
    first = min((on for _, on in dated), default=today)
    start, end = first.replace(day=1), max((on for _, on in dated), default=today)
    lanes = [_Lane(vendor, top + LANE * (place + 1), models_at, said) for place, vendor in enumerate(vendors)]
    parts: list[str] = []
    bottom = top + LANE * len(lanes) + 20
    for year in range(start.year, end.year + 1):
        for month in (1, 7):
            at = date(year, month, 1)
            if start <= at <= end:
                x = _x(at, start, end)
                parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" class="rule" stroke="{RULE}"/>')
                parts.append(_text(x + 3, top + 2, f"{year}-{month:02}", colour=QUIET, size=11))
    for lane in lanes:
        parts += lane.drawn([(event, on) for event, on in dated if event.vendor == lane.vendor], start, end)
    height = bottom + 20
    undated = [event for event in happened if event.on is None and event.kind in ("dropped", "moved")]
    for event in undated:
        height += 18
        parts.append(
            _text(LEFT, height, said(f"date unknown: {event.model} {event.kind} {event.says}"), colour=LOST, size=12)
        )
    return parts, height


class _Lane:
    """One vendor's line."""

    def __init__(self, vendor: str, y: float, models_at: str | None, said: Callable[[str], str]) -> None:
        self.vendor = vendor
        self._y = y
        self._models_at = models_at
        self._said = said

    def drawn(self, dated: Sequence[tuple[Event, date]], start: date, end: date) -> list[str]:
        """Its events, with as many labels as have room."""
        parts = [
            f'<line x1="{LEFT}" y1="{self._y}" x2="{WIDTH - RIGHT}" y2="{self._y}" class="rule" stroke="{RULE}"/>',
            _text(LEFT - 12, self._y + 4, self.vendor, anchor="end", size=13),
        ]
        free = {-1: 0.0, 1: 0.0}
        for on in sorted({on for _, on in dated}):
            together = [event for event, at in dated if at == on]
            x = _x(on, start, end)
            parts += [self._linked(event, _mark(event, x, self._y, self._said(_title(event)))) for event in together]
            side = -1 if free[-1] <= x else 1
            if free[side] <= x:
                label = self._said(_label(together))
                room = len(label) * CHARACTER
                left = min(x - 3, WIDTH - RIGHT - room)
                parts.append(_text(left, self._y + (-9 if side < 0 else 17), label, size=10))
                free[side] = left + room + LABEL_APART
        return parts

    def _linked(self, event: Event, mark: str) -> str:
        if self._models_at is None:
            return mark
        said = escape(self._said(_title(event)))
        return f'<a href="{escape(self._models_at + event.model)}" aria-label="{said}">{mark}</a>'


def _label(together: Sequence[Event]) -> str:
    """What stands beside the marks of one day."""
    first = together[0]
    about = f"licence of {first.model}" if first.kind == "licence" else first.model
    return about if len(together) == 1 else f"{about} +{len(together) - 1}"


def _title(event: Event) -> str:
    return f"{event.when} {event.model}: {event.kind}, {event.says}"


def _mark(event: Event, x: float, y: float, says: str) -> str:
    colour = COLOURS[event.kind]
    title = f"<title>{escape(says)}</title>"
    if event.kind == "released":
        return f'<circle cx="{x:.1f}" cy="{y}" r="5" class="mark {event.kind}" fill="{colour}">{title}</circle>'
    if event.kind == "licence":
        return f'<rect x="{x - 5:.1f}" y="{y - 5}" width="10" height="10" class="mark {event.kind}" fill="none" stroke="{colour}" stroke-width="2.5">{title}</rect>'
    cross = f"M{x - 5:.1f} {y - 5}L{x + 5:.1f} {y + 5}M{x + 5:.1f} {y - 5}L{x - 5:.1f} {y + 5}"
    return f'<path d="{cross}" class="mark {event.kind}" stroke="{colour}" stroke-width="2.5">{title}</path>'


def _scales(led: Sequence[IndexVersion], turned: Sequence[Reversal], top: float) -> tuple[list[str], float]:
    """One scale for each version of an index: the best open model of each country, and nothing between versions."""
    if not led:
        return [], top
    parts = [
        _text(LEFT, top, "Best open weights by country. Each version is a scale of its own.", size=16, weight="600")
    ]
    y = top + 14
    for each in led:
        y += 26
        parts.append(_text(LEFT, y, f"{each.index} {each.version}", size=12, weight="600"))
        most = each.leaders[0].value
        for leader in each.leaders:
            y += 20
            length = max(0.0, leader.value / most) * 420
            parts.append(_text(LEFT - 12, y + 4, leader.country, anchor="end", size=12))
            parts.append(
                f'<rect x="{LEFT}" y="{y - 7}" width="{length:.1f}" height="13" fill="#1f6f8b" opacity="0.85"/>'
            )
            said = f"{leader.value:g}  {leader.model}" + (f", {leader.as_of}" if leader.as_of else "")
            parts.append(_text(LEFT + length + 8, y + 4, said, size=12))
    for turn in turned[:6]:
        y += 22
        (a, b), (c, d) = turn.values_before, turn.values_after
        said = f"{turn.led} {a:g} : {b:g} {turn.leads} on {turn.before}; {c:g} : {d:g} on {turn.after}"
        parts.append(_text(LEFT, y + 4, f"turned: {said}", colour=WARM, size=12))
    return parts, y + 20


def _x(at: date, start: date, end: date) -> float:
    span = max(1, (end - start).days)
    return LEFT + (WIDTH - LEFT - RIGHT - 40) * (at - start).days / span


def _text(
    x: float, y: float, said: str, *, colour: str = INK, size: int = 12, anchor: str = "start", weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{CLASSES[colour]}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(said)}</text>'
    )

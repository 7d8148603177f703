"""From what a terminal was sent to what it showed: one screen after the other, without the time in which nothing happens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyte

from docs.record.cast import Cast

LONGEST_S = 1.5
"""Nothing stands still for longer, except the end."""
COUNTING_S = 0.4
"""The same for a screen after which only figures change."""
END_S = 4.0
SHORTEST_S = 0.06
"""Screens that follow each other faster are one."""
SPINNER = str.maketrans(dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "⠿"))
"""Turning alone is no news."""
FIGURES = re.compile(r"[-+–]?\d[\d.]*|[█░●○]+| +")


@dataclass(frozen=True)
class Style:
    """How characters look."""

    colour: str = "default"
    bold: bool = False
    dim: bool = False


@dataclass(frozen=True)
class Run:
    """Characters of one style, side by side."""

    column: int
    text: str
    style: Style


Line = tuple[Run, ...]


@dataclass(frozen=True)
class Screen:
    """What stood there."""

    lines: tuple[Line, ...]
    cursor: tuple[int, int] | None
    """Column and row; None while it is hidden."""


@dataclass(frozen=True)
class Frame:
    """A screen, and how long it is shown."""

    screen: Screen
    seconds: float


class _Terminal(pyte.Screen):
    """With faint text, which `pyte` does not know; it is kept as blinking, which nothing of ours does."""

    def select_graphic_rendition(self, *attrs: int, **more: Any) -> None:
        if not {38, 48} & set(attrs):  # there a 2 is part of a colour
            attrs = tuple(each for attr in attrs for each in {2: (5,), 22: (22, 25)}.get(attr, (attr,)))
        super().select_graphic_rendition(*attrs, **more)


def frames(cast: Cast) -> list[Frame]:
    """What is shown, and for how long."""
    found: list[tuple[float, Screen]] = []
    for at, screen in _screens(cast):
        if found and found[-1][1] == screen:
            continue
        if found and at - found[-1][0] < SHORTEST_S:
            found[-1] = (found[-1][0], screen)
        else:
            found.append((at, screen))
    shown: list[Frame] = []
    for (at, screen), (until, after) in pairwise(found):
        longest = COUNTING_S if _wording(screen) == _wording(after) else LONGEST_S
        if screen != after:
            shown.append(Frame(screen, min(until - at, longest)))
    return [*shown, Frame(found[-1][1], END_S)]


def _wording(screen: Screen) -> str:
    """What stands there, whatever the figures are."""
    return FIGURES.sub(" ", "\n".join(" ".join(run.text for run in line) for line in screen.lines))


def _screens(cast: Cast) -> Iterator[tuple[float, Screen]]:
    """Every screen; of lines only those are read anew that may have changed."""
    terminal = _Terminal(cast.columns, cast.rows)
    stream = pyte.Stream(terminal)
    lines: list[Line] = [()] * cast.rows
    for output in cast.outputs:
        stream.feed(output.text)
        for row in terminal.dirty:
            lines[row] = _line([terminal.buffer[row][column] for column in range(cast.columns)])
        terminal.dirty.clear()
        cursor = terminal.cursor
        yield output.at, Screen(tuple(lines), None if cursor.hidden else (cursor.x, cursor.y))


def _line(characters: Sequence[Any]) -> Line:
    """Split a line into runs, at every change of style, at wide gaps, and around signs that fonts draw in widths of their own."""
    runs: list[Run] = []
    open_run = False
    for column, character in enumerate(characters):
        text = character.data.translate(SPINNER)
        style = Style(character.fg, character.bold, character.blink)
        if text == " ":
            open_run = False
            continue
        if open_run and runs[-1].style == style and _is_sign(text) == _is_sign(runs[-1].text[-1]):
            runs[-1] = Run(runs[-1].column, runs[-1].text + text, style)
        else:
            runs.append(Run(column, text, style))
        open_run = True
    return _joined(runs)


def _joined(runs: Sequence[Run]) -> Line:
    """Words of one style with one space between them are one run."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.style == run.style
            and last.column + len(last.text) + 1 == run.column
            and not _is_sign(last.text[-1])
            and not _is_sign(run.text[0])
        ):
            joined[-1] = Run(last.column, f"{last.text} {run.text}", run.style)
        else:
            joined.append(run)
    return tuple(joined)


def _is_sign(character: str) -> bool:
    return ord(character) > 0x2100

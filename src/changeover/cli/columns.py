"""Columns that fit on a terminal: long names are shortened first, then columns are left out. Only prose is folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

GAP = "  "
UNKNOWN = "–"
NARROWEST = 8
"""Characters of any column."""
NARROWEST_TEXT = 24
"""Characters of a line of prose."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How a table's columns give way to each other."""

    names: tuple[str, ...]
    right: tuple[str, ...] = ()
    """Set to the right."""
    concessions: tuple[tuple[str, int], ...] = ()
    """What a narrow terminal takes away, in this order: a column is shortened to so many characters, or left out at 0."""

    def fitted(self, widths: Mapping[str, int], width: int) -> dict[str, int]:
        """Widths with which the columns fit beside each other."""
        kept = {name: widths[name] for name in self.names}
        last_resort = ((self.names[0], NARROWEST), (self.names[-1], NARROWEST))
        for name, least in (*self.concessions, *last_resort):
            over = total(kept) - width
            if over <= 0:
                break
            if least == 0:
                kept.pop(name, None)
            elif name in kept:
                kept[name] -= min(over, max(0, kept[name] - least))
        return kept

    def line(self, cells: Mapping[str, Cell], widths: Mapping[str, int]) -> Text:
        """One line of the columns that are left."""
        line = Text(no_wrap=True)
        for place, (name, size) in enumerate(widths.items()):
            cell = cells[name]
            text = clipped(cell.text, size)
            pad = " " * (size - cell_len(text))
            last = place == len(widths) - 1
            line.append(GAP if place else "")
            line.append(f"{pad}{text}" if name in self.right else text if last else f"{text}{pad}", cell.style)
        return line


def total(widths: Mapping[str, int]) -> int:
    """How wide columns are beside each other."""
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def widest(name: str, heading: str, rows: Sequence[Mapping[str, Cell]]) -> int:
    """The width that a column needs for everything in it."""
    return max([cell_len(heading), *(cell_len(row[name].text) for row in rows)])


def apart(left: Text, right: Text, width: int) -> list[Text]:
    """Two texts on one line, or below each other where there is no room."""
    if not right:
        return [left]
    if left.cell_len + 3 + right.cell_len > width:
        return [left, right]
    return [Text.assemble(left, "   ", right)]


def hanging(before: str, said: Text, width: int) -> list[Text]:
    """A text after what it belongs to. What does not fit goes on below its beginning."""
    indent = cell_len(before)
    room = max(width - indent, NARROWEST_TEXT)
    lines = list(said.wrap(Console(width=room), room)) or [Text()]
    for line in lines:
        line.rstrip()
    return [Text(" " * indent if place else before).append_text(line) for place, line in enumerate(lines)]


def clipped(text: str, width: int) -> str:
    """A text without its end where it is too long; a model's name begins with what tells it from others."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"

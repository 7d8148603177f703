"""The order in which lines on a page are read: columns, then rows, then from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True)
class Line:
    """A piece of text and where it stands, in pixels from the upper left corner."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """From its top to its bottom."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Half-way down."""
        return (self.top + self.bottom) / 2


PROSE_SHARE = 0.25
"""Of the page's width, that lines of a column of prose have at least; cells of a table are narrower."""
FEWEST_ROWS = 4
"""Of a column."""
GAP_HEIGHTS = 1.0
"""Between two columns, in heights of a line."""
CELL_GAP_HEIGHTS = 1.2
"""Between two pieces of a row, in heights of a line, where they are cells and not words."""
PARAGRAPH_GAP_HEIGHTS = 1.1


def in_reading_order(lines: Sequence[Line]) -> str:
    """Text of a page: rows as lines, cells of a row with a tab between them, an empty line between paragraphs."""
    if not lines:
        return ""
    left, right = min(each.left for each in lines), max(each.right for each in lines)
    return "\n\n".join(_rows(column) for column in _columns(list(lines), max(right - left, 1.0)))


def _columns(lines: list[Line], page_width: float) -> list[list[Line]]:
    """Blocks side by side, each read to its end before the next; what goes across all of them stands between."""
    gutter = _gutter(lines, page_width)
    if gutter is None:
        return [lines]
    across = sorted((each for each in lines if each.left < gutter < each.right), key=lambda each: each.middle)
    columns: list[list[Line]] = []
    rest = [each for each in lines if not each.left < gutter < each.right]
    for edge in (*across, None):
        above = [each for each in rest if edge is None or each.middle < edge.middle]
        rest = [each for each in rest if each not in above]
        sides = [[each for each in above if each.right <= gutter], [each for each in above if each.left >= gutter]]
        columns += [side for side in sides if side]
        if edge is not None:
            columns.append([edge])
    return columns


def _gutter(lines: list[Line], page_width: float) -> float | None:
    """Where a page of prose is parted in two, from top to bottom but for headings; None: it is not."""
    height = median(each.height for each in lines)
    edges = sorted({each.left for each in lines})
    for edge in edges:
        place = edge - GAP_HEIGHTS * height / 2
        before = [each for each in lines if each.right <= place]
        after = [each for each in lines if each.left >= place]
        across = len(lines) - len(before) - len(after)
        if min(len(before), len(after)) < FEWEST_ROWS or across > len(lines) / 5:
            continue
        gap = edge - max(each.right for each in before)
        wide = min(median(each.right - each.left for each in side) for side in (before, after))
        if gap >= GAP_HEIGHTS * height / 2 and wide >= PROSE_SHARE * page_width:
            return place
    return None


def _rows(lines: list[Line]) -> str:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: each.middle):
        row = rows[-1] if rows else None
        if row is not None and abs(line.middle - _middle(row)) < 0.5 * min(
            line.height, median(each.height for each in row)
        ):
            row.append(line)
        else:
            rows.append([line])
    text = ""
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None:
            gap = min(each.top for each in row) - max(each.bottom for each in before)
            text += "\n\n" if gap > PARAGRAPH_GAP_HEIGHTS * median(each.height for each in row) else "\n"
        text += _row(row)
    return text


def _middle(row: list[Line]) -> float:
    return sum(each.middle for each in row) / len(row)


def _row(row: list[Line]) -> str:
    ordered = sorted(row, key=lambda each: each.left)
    text = ordered[0].text
    for before, line in pairwise(ordered):
        text += ("\t" if line.left - before.right > CELL_GAP_HEIGHTS * line.height else " ") + line.text
    return text

"""Tables as files have them: CSV, and sheets as the reader writes them out, become rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from changeover.tools.values import Document

MOST_ROWS = 200_000
_RULE = re.compile(r"\|?[\s:|-]+\|?")
_CELL = re.compile(r"(?<!\\)\|")
_SEPARATORS = "\t,;|"


def rows_of(document: Document) -> list[dict[str, str]]:
    """The rows of every sheet, each by the names in the sheet's first row.

    A sheet is written with tabs, commas or semicolons between its cells, or as a table of Markdown. Cells beyond the
    first row's are left out, missing ones are empty; so are rows without any text.
    """
    found: list[dict[str, str]] = []
    for page in document.pages:
        lines = [row for row in _cells(page.text) if any(cell.strip() for cell in row)]
        if len(lines) < 2:
            continue
        names = _names(lines[0])
        for row in lines[1 : MOST_ROWS + 1 - len(found)]:
            padded = [*row, *[""] * (len(names) - len(row))]
            found.append({name: cell.strip() for name, cell in zip(names, padded, strict=False)})
    return found


def _names(cells: Sequence[str]) -> list[str]:
    """A name for each column, none twice."""
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = " ".join(cell.split()) or f"column {number}"
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _cells(text: str) -> Iterator[list[str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if line.lstrip().startswith("|")]
    if len(marked) > 1:
        for line in marked:
            if not _RULE.fullmatch(line.strip()):
                yield [cell.replace("\\|", "|").strip() for cell in _CELL.split(line.strip().strip("|"))]
        return
    if not lines:
        return
    separator = max(_SEPARATORS, key=lines[0].count)
    limit = csv.field_size_limit()
    yield from (
        row for row in csv.reader(io.StringIO(text), delimiter=separator) if max(map(len, row), default=0) < limit
    )

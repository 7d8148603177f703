"""Tables as text: CSV, TSV and their kin, given as rows with tabs between cells."""

from __future__ import annotations

import csv
import io

from changeover.tools.documents.reading import SECTION_CHARS, Reading
from changeover.tools.documents.texts import decoded

_SEPARATORS = ",;\t|"
_SNIFFED_CHARS = 16 << 10
MOST_CELL_CHARS = 100_000


def read(data: bytes, reading: Reading) -> None:
    """Read a table; a page holds the rows of about so many characters."""
    text = decoded(data)
    if not text.strip():
        raise reading.empty()
    csv.field_size_limit(MOST_CELL_CHARS)
    rows: list[tuple[int, str]] = []
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)), start=1):
            if any(cell.strip() for cell in cells):
                rows.append((number, row_of(cells)))
    except csv.Error as exc:
        raise reading.broken("a table", str(exc)) from exc
    if not rows:
        raise reading.empty()
    room = max(1, reading.limits.most_pages - reading.pages - 1)
    size = max(SECTION_CHARS, sum(len(row) + 1 for _, row in rows) // room + SECTION_CHARS // 10)
    held: list[tuple[int, str]] = []
    chars = 0
    for number, row in rows:
        if held and chars + len(row) > size:
            _page(held, reading)
            held, chars = [], 0
        held.append((number, row))
        chars += len(row) + 1
    _page(held, reading)


def row_of(cells: list[str]) -> str:
    """A row as one line; empty cells at its end are left out."""
    return "\t".join(" ".join(cell.split()) for cell in cells).rstrip("\t")


def _page(rows: list[tuple[int, str]], reading: Reading) -> None:
    first, last = rows[0][0], rows[-1][0]
    reading.page(f"rows {first}-{last}" if last > first else f"row {first}", "\n".join(row for _, row in rows))


def _separator(text: str) -> str:
    """What stands between its cells: by what its first rows have alike."""
    lines = [line for line in text[:_SNIFFED_CHARS].splitlines() if line.strip()][:20]
    counts = {each: [line.count(each) for line in lines] for each in _SEPARATORS}
    return max(_SEPARATORS, key=lambda each: (min(counts[each]) > 0, len(set(counts[each])) == 1, sum(counts[each])))

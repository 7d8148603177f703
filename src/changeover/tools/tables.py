"""Tables: rows of files as the reader gives them, and rows as a file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from changeover.core.errors import DocumentError
from changeover.tools.plain import text_of
from changeover.tools.values import Document

MOST_COLUMNS = 1_000
MOST_CELLS = 1_000_000
"""Those that are missing in a row count: each takes its place in memory."""
_RULE = re.compile(r"\|?[\s:|-]+\|?")
_CELL = re.compile(r"(?<!\\)\|")
_SEPARATORS = "\t,;"


def rows_of(document: Document) -> list[dict[str, str]]:
    """The rows of every table of a document, each by the names in the table's first row.

    A CSV file is one table; of a workbook every sheet is one. Cells beyond the first row's are left out, missing ones are
    empty, and so may be every one of a row.

    Raises:
        DocumentError: It has too many columns, or cells.
    """
    texts = ["\n".join(page.text for page in document.pages)] if document.kind == "csv" else _texts(document)
    rows: list[dict[str, str]] = []
    cells = 0
    for text in texts:
        lines = list(_cells(text, document.kind))
        columns = len(lines[0]) if lines else 0
        cells += columns * len(lines)
        if columns > MOST_COLUMNS or cells > MOST_CELLS:
            raise DocumentError(
                f"`{document.name}` has {columns:,} columns and {len(lines):,} rows in one table; at most {MOST_COLUMNS:,} "
                f"columns, and {MOST_CELLS:,} cells of all tables together, are read. Split it."
            )
        rows += _rows(lines)
    return rows


def _texts(document: Document) -> list[str]:
    return [page.text for page in document.pages]


def _rows(lines: Sequence[Sequence[str]]) -> Iterator[dict[str, str]]:
    names: list[str] = []
    for number, cell in enumerate(lines[0] if lines else [], start=1):
        name = " ".join(cell.split()) or f"column {number}"
        names.append(name if name not in names else f"{name} ({number})")
    for row in lines[1:]:
        padded = [*row, *[""] * (len(names) - len(row))]
        yield {name: cell.strip() for name, cell in zip(names, padded, strict=False)}


def _cells(text: str, kind: str) -> Iterator[list[str]]:
    """Cells as the reader writes them, with tabs between; as tables of Markdown; or as CSV that was taken for a text."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line.strip() for line in lines if line.lstrip().startswith("|")]
    if kind in ("csv", "xlsx"):
        yield from (line.split("\t") for line in lines)
    elif len(marked) > 1:
        for line in marked:
            if not _RULE.fullmatch(line):
                yield [cell.replace("\\|", "|").strip() for cell in _CELL.split(line.strip("|"))]
    elif lines:
        separator = max(_SEPARATORS, key=lines[0].count)
        yield from (_split(line, separator) for line in lines)


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), list[str]())
    except csv.Error:  # a cell of more than 128 KiB
        return line.split(separator)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a CSV file, with every column that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(names)
    writer.writerows([text_of(row.get(name)) for name in names] for row in rows)
    return written.getvalue().encode()

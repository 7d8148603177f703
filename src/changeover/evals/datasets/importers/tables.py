"""Importing CSV files: one case a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changeover.core.errors import DatasetError, nearest
from changeover.evals.datasets.importers.base import FIELDS, Draft, Imported, plain_name, tags_of, target_of, usual
from changeover.evals.datasets.read import read_text

DELIMITERS = ",;\t|"
_WRONG = "\0"
"""Stands for cells that are missing or too many."""
LARGEST_CELL = 16 << 20
"""Characters."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    cells: dict[str, str]
    line: int
    """On which it ends, from 1."""
    whole: bool
    """Whether it has as many cells as there are columns."""


def import_table(path: Path, found: Imported) -> None:
    """Add the rows of a CSV file, which has its columns' names in the first line; `;` and tabs are fine too."""
    header, rows = _table(path)
    taken = _columns(path, header, found)
    for row in rows:
        where = f"{path}:{row.line}"
        if not row.whole:
            found.skip(where, f"the row has not the {len(header)} cells that the first line names.")
            continue
        found.drafts.append(Draft(fields=_fields(row.cells, taken), where=where))


def _table(path: Path) -> tuple[list[str], Iterator[Row]]:
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, restkey=_WRONG, restval=_WRONG
    )
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error as exc:
        raise DatasetError(f"{path}:1: no CSV: {exc}.") from exc
    if not any(header):
        raise DatasetError(f"{path}: the file is empty. Its first line must name the columns.")
    double = next((name for name in header if header.count(name) > 1), None)
    if double is not None:
        raise DatasetError(f"{path}:1: two columns are called `{double}`. Give each a name of its own.")
    reader.fieldnames = header
    return header, _rows(path, reader)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Row]:
    try:
        for cells in reader:
            if any(cells.values()):
                yield Row(cells, reader.line_num, _WRONG not in cells and _WRONG not in cells.values())
    except csv.Error as exc:
        where = f"{path}:{reader.line_num + 1}"  # where the row begins that could not be read
        raise DatasetError(f"{where}: no CSV: {exc}. Is a quotation mark left open?") from exc


def _columns(path: Path, header: list[str], found: Imported) -> dict[str, tuple[str, ...]]:
    """Which columns each field is taken from."""
    chosen = {name: columns for name, columns in found.choice.columns.items() if columns}
    for columns in chosen.values():
        unknown = next((column for column in columns if column not in header), None)
        if unknown is not None:
            raise DatasetError(f"{path}: no column `{unknown}`. {nearest(unknown, header)}")
    taken = {column for columns in chosen.values() for column in columns}
    for name in FIELDS:
        if name not in chosen and (guess := usual(name, header, taken)) is not None:
            chosen[name] = (guess,)
            taken.add(guess)
    rest = [column for column in header if column not in taken]
    if "input" not in chosen and len(rest) == 1:
        chosen["input"] = (rest.pop(),)
    for name in ("input", "target"):
        if name not in chosen:
            raise DatasetError(
                f"{path}: which column is the {name}? Say it with `--{name} COLUMN`. Columns: {', '.join(header)}."
            )
    names = [variable_name(column) for column in chosen["input"]]
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: two of the input columns would be the same variable. Rename one of them.")
    said = ", ".join(f"{name} ← {' + '.join(chosen[name])}" for name in FIELDS if name in chosen)
    found.note(f"taken: {said}" + (f"; not used: {', '.join(rest)}" if rest else ""))
    return chosen


def variable_name(column: str) -> str:
    """A column's name as a template can say it: `Customer message` is `customer_message`."""
    if column.isidentifier():
        return column
    name = plain_name(column)
    return name if name.isidentifier() else f"column_{name}"


def _fields(cells: dict[str, str], taken: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    inputs = taken["input"]
    fields: dict[str, Any] = {
        "input": cells[inputs[0]] if len(inputs) == 1 else {variable_name(column): cells[column] for column in inputs},
        "target": target_of(cells[taken["target"][0]]),
        "tags": [tag for column in taken.get("tags", ()) for tag in tags_of(cells[column])],
    }
    for name in ("id", "cluster"):
        if name in taken and (value := cells[taken[name][0]].strip()):
            fields[name] = value
    return fields

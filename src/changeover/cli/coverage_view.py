"""The coverage matrix on a terminal. Gaps are red, and there is a word for them too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from changeover.app.coverage import counted_on
from changeover.app.fits import HERE, fits_on
from changeover.app.shelf import open_shelf
from changeover.cli.columns import Cell, Columns, hanging, widest
from changeover.cli.frame import out, print_json
from changeover.library.coverage import LICENCE_CLASSES, OPEN, SCENARIOS, SIZES, UNKNOWN_SIZE, Coverage

GAP = "none"
LEGEND = "open source + open under other terms; a model counts for each of its scenarios"
SIZE_NAMES = tuple(name for name, _ in SIZES)
BY_SIZE = Columns(
    names=("scenario", *SIZE_NAMES, UNKNOWN_SIZE, "closed", "all"),
    right=(*SIZE_NAMES, UNKNOWN_SIZE, "closed", "all"),
    concessions=((UNKNOWN_SIZE, 0), ("closed", 0)),
)
BY_MODALITY = Columns(
    names=("in → out", *LICENCE_CLASSES, "for"),
    right=LICENCE_CLASSES,
    concessions=(("in → out", 36), ("for", 24), ("in → out", 24), ("for", 0)),
)


def run(*, allowed: bool, here: bool, as_json: bool) -> None:
    """Print the matrix."""
    shelf = open_shelf(Path.cwd())
    counted = counted_on(shelf, fits_on(shelf, HERE) if here else None, allowed=allowed)
    if as_json:
        print_json(_document(counted))
        return
    for line in matrix_lines(counted, out.width):
        out.print(line)


def matrix_lines(counted: Coverage, width: int) -> list[Text]:
    """Scenario by size, then what is read and written by licence, then what is missing."""
    rows = [_row(counted, scenario) for scenario in SCENARIOS]
    lines = [Text(f"{len(counted.standing)} models", "bold"), *_table(BY_SIZE, rows, width)]
    lines += [*hanging("", Text(LEGEND, "dim"), width), Text()]
    lines += _table(BY_MODALITY, [_modality_row(counted, name) for name in counted.modalities], width)
    if counted.missing:
        lines += [Text(), *hanging("no open model for  ", Text(", ".join(counted.missing), "red"), width)]
    if counted.unclassified:
        lines += hanging("for nothing yet    ", Text(", ".join(counted.unclassified), "dim"), width)
    return lines


def _row(counted: Coverage, scenario: str) -> dict[str, Cell]:
    unknown = counted.count(scenario=scenario, size=UNKNOWN_SIZE, licences=OPEN)
    closed = counted.count(scenario=scenario, licences=("closed",))
    return {
        "scenario": Cell(scenario, "" if counted.count(scenario=scenario, licences=OPEN) else "red"),
        **{name: _place(counted, scenario, name) for name in SIZE_NAMES},
        UNKNOWN_SIZE: Cell(str(unknown or ""), "dim"),
        "closed": Cell(str(closed or ""), "dim"),
        "all": Cell(str(counted.count(scenario=scenario))),
    }


def _place(counted: Coverage, scenario: str, size: str) -> Cell:
    free, other = counted.place(scenario, size)
    if not free and not other:
        return Cell(GAP, "red")
    return Cell(f"{free or ''}{f'+{other}' if other else ''}", "" if free else "yellow")


def _modality_row(counted: Coverage, modality: str) -> dict[str, Cell]:
    """What is read and written, by licence, over all scenarios and sizes."""
    scenarios = [name for name in SCENARIOS if counted.count(scenario=name, modality=modality)]
    counts = {name: counted.count(modality=modality, licences=(name,)) for name in LICENCE_CLASSES}
    return {
        "in → out": Cell(modality),
        **{name: Cell(str(count or "")) for name, count in counts.items()},
        "for": Cell(", ".join(scenarios), "dim"),
    }


def _table(columns: Columns, rows: Sequence[dict[str, Cell]], width: int) -> list[Text]:
    widths = columns.fitted({name: widest(name, name, rows) for name in columns.names}, width)
    headings = {name: Cell(name, "dim") for name in columns.names}
    return [columns.line(row, widths) for row in (headings, *rows)]


def _document(counted: Coverage) -> dict[str, object]:
    places = sorted(counted.places().items())
    return {
        "models": len(counted.standing),
        "places": [
            {"modality": modality, "scenario": scenario, "size": size, "licence": licence, "models": count}
            for (modality, scenario, size, licence), count in places
        ],
        "gaps": [{"scenario": scenario, "size": size} for scenario, size in counted.gaps()],
        "unclassified": counted.unclassified,
    }

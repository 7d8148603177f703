"""The coverage matrix on a terminal. Gaps are red, and there is a word for them too."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from changeover.app.shelf import open_shelf
from changeover.cli.columns import Cell, Columns, hanging, widest
from changeover.cli.frame import out, print_json
from changeover.core.errors import ConfigError
from changeover.library.coverage import LICENCE_CLASSES, SCENARIOS, SIZES, UNKNOWN_SIZE, Coverage, coverage

GAP = "none"
SIZE_NAMES = tuple(name for name, _ in SIZES)
BY_SIZE = Columns(
    names=("scenario", *SIZE_NAMES, UNKNOWN_SIZE, "closed", "all"), right=(*SIZE_NAMES, UNKNOWN_SIZE, "closed", "all")
)


def run(*, allowed: bool, as_json: bool) -> None:
    """Print the matrix."""
    shelf = open_shelf(Path.cwd())
    if allowed and shelf.policy is None:
        raise ConfigError("`--policy` counts what `policy.toml` allows, and there is none here. Write it first.")
    counted = coverage(shelf.catalogue, lambda card: not allowed or shelf.judgement(card).allowed)
    if as_json:
        print_json(_document(counted))
        return
    for line in matrix_lines(counted, out.width):
        out.print(line)


def matrix_lines(counted: Coverage, width: int) -> list[Text]:
    """Scenario by size, then what is read and written by licence, then what is missing."""
    rows = [_row(counted, scenario) for scenario in SCENARIOS]
    headings = {name: Cell(name, "dim") for name in BY_SIZE.names}
    widths = BY_SIZE.fitted({name: widest(name, name, rows) for name in BY_SIZE.names}, width)
    lines = [Text(f"{counted.cards} models", "bold"), *(BY_SIZE.line(row, widths) for row in (headings, *rows))]
    lines += [Text("open source + open under other terms; a model counts for each of its scenarios", "dim"), Text()]
    lines += _by_modality(counted, width)
    missing = [name for name in SCENARIOS if not _open(counted, name, None)]
    if missing:
        lines += [Text(), *hanging("no open model for  ", Text(", ".join(missing), "red"), width)]
    if counted.unclassified:
        lines += hanging("for nothing yet  ", Text(", ".join(counted.unclassified), "dim"), width)
    return lines


def _row(counted: Coverage, scenario: str) -> dict[str, Cell]:
    closed = counted.count(scenario=scenario, licence="closed")
    row = {name: _place(counted, scenario, name) for name in SIZE_NAMES}
    unknown = _open(counted, scenario, UNKNOWN_SIZE)
    return {
        "scenario": Cell(scenario, "" if _open(counted, scenario, None) else "red"),
        **row,
        UNKNOWN_SIZE: Cell(str(unknown or ""), "dim"),
        "closed": Cell(str(closed or ""), "dim"),
        "all": Cell(str(counted.count(scenario=scenario))),
    }


def _place(counted: Coverage, scenario: str, size: str) -> Cell:
    free = counted.count(scenario=scenario, size=size, licence="free")
    other = _open(counted, scenario, size) - free
    if not free and not other:
        return Cell(GAP, "red")
    said = f"{free}" if free else ""
    return Cell(f"{said}{f'+{other}' if other else ''}", "" if free else "yellow")


def _open(counted: Coverage, scenario: str, size: str | None) -> int:
    classes = [each for each in LICENCE_CLASSES if each != "closed"]
    return sum(counted.count(scenario=scenario, size=size, licence=each) for each in classes)


def _by_modality(counted: Coverage, width: int) -> list[Text]:
    """What is read and written, by licence, over all scenarios and sizes; each card once for each scenario."""
    names = ("in → out", "scenarios", *LICENCE_CLASSES)
    columns = Columns(
        names=names, right=LICENCE_CLASSES, concessions=(("scenarios", 24), ("in → out", 20), ("scenarios", 0))
    )
    rows: list[dict[str, Cell]] = []
    for modality in sorted({place.modality for place in counted.counts}):
        here = {place: count for place, count in counted.counts.items() if place.modality == modality}
        scenarios = [name for name in SCENARIOS if any(place.scenario == name for place in here)]
        most = {
            licence: max(
                (
                    sum(count for place, count in here.items() if (place.licence, place.scenario) == (licence, name))
                    for name in scenarios
                ),
                default=0,
            )
            for licence in LICENCE_CLASSES
        }
        rows.append(
            {
                "in → out": Cell(modality),
                "scenarios": Cell(", ".join(scenarios), "dim"),
                **{licence: Cell(str(count or "")) for licence, count in most.items()},
            }
        )
    widths = columns.fitted({name: widest(name, name, rows) for name in names}, width)
    headings = {name: Cell(name, "dim") for name in names}
    return [columns.line(row, widths) for row in (headings, *rows)]


def _document(counted: Coverage) -> dict[str, object]:
    return {
        "models": counted.cards,
        "places": [
            {
                "modality": place.modality,
                "scenario": place.scenario,
                "size": place.size,
                "licence": place.licence,
                "models": count,
            }
            for place, count in sorted(counted.counts.items(), key=lambda each: str(each[0]))
        ],
        "gaps": [{"scenario": scenario, "size": size} for scenario, size in counted.gaps()],
        "unclassified": counted.unclassified,
    }

"""A trial as a person reads it: one line a task, aligned, in quiet colours, never wider than the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from changeover.core.clock import span
from changeover.evals.trials import Row, Table
from changeover.rollouts.duration import Course, course_line

GAP = "  "
COLUMNS = ("task", "incumbent", "verdict", "difference", "p95", "cost", "licence", "recommendation")
RIGHT = ("p95", "cost")
LEAST = {"task": 12, "incumbent": 12, "licence": 6, "recommendation": 24}
"""To so many characters a column is shortened before one is left out."""
SHORTENED = ("incumbent", "task", "licence", "recommendation")
LEFT_OUT = ("licence", "cost", "p95", "incumbent", "difference")
"""Columns in the order in which a narrow terminal does without them."""
STYLE_OF_VERDICT = {
    "better": "green",
    "worse": "red",
    "not as good": "red",
    "inconclusive": "yellow",
    "not tried": "dim",
    "waiting": "dim",
}
STYLE_OF_ADVICE = {"switch": "bold green", "switch if wanted": "green", "undecided": "yellow", "none": "dim"}
UNKNOWN = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in one place."""

    text: str
    style: str = ""


def table_lines(table: Table, width: int, courses: Mapping[str, Course] | None = None) -> list[Text]:
    """The whole of it: a header, a line for each task, what was left out, counts and the next command.

    Args:
        table: The trial.
        width: Columns that there are.
        courses: What became of its switches, by task.
    """
    differences = _aligned(table.tried)
    rows = [_cells(row, each, table.licence) for row, each in zip(table.tried, differences, strict=True)]
    names = {"cost": "tokens"} if _by_tokens(table) else {}
    widths = fitted(_widths(rows, names), width)
    lines = [*_header(table, width), _line({name: Cell(names.get(name, name), "dim") for name in COLUMNS}, widths)]
    notes: list[Text] = []
    for row, cells in zip(table.tried, rows, strict=True):
        line, cut = _row_line(row, cells, widths, width)
        lines.append(line)
        if cut:
            notes += _note(row.task, cut)
    notes += [_outcome_line(task, course) for task, course in (courses or {}).items()]
    return [*lines, *notes, *_footer(table, width, courses or {})]


def progress_line(row: Row) -> str:
    """One finished task, where there is no terminal."""
    if row.difference is None:
        return f"  {row.task}: {row.verdict}  {row.recommendation}"
    return (
        f"  {row.task}: {row.verdict}  {_aligned([row])[0]}  {row.samples} samples, "
        f"{row.outcome.calls_new} new calls, {span(row.outcome.seconds)}"
    )


def document(table: Table, courses: Mapping[str, Course]) -> dict[str, Any]:
    """The same facts for `--json`."""
    return {
        "trial": table.trial,
        "candidate": table.candidate,
        "started_at": table.started_at,
        "ended_at": table.ended_at,
        "seconds": table.seconds,
        "calls_new": table.calls_new,
        "calls_kept": table.calls_kept,
        "calls_fixed_n": table.calls_fixed_n,
        "false_switches": table.rate,
        "licence": table.licence,
        "tasks": [{**_facts(row), "changeover": courses.get(row.task)} for row in table.tried],
        "left_out": list(table.left_out),
    }


def fitted(widths: Mapping[str, int], width: int) -> dict[str, int]:
    """Widths of columns that fit together: long names are shortened first, then columns are left out."""
    kept = {name: widths[name] for name in COLUMNS}
    while (over := _total(kept) - width) > 0:
        wide = [name for name in SHORTENED if name in kept and kept[name] > LEAST[name]]
        if sum(kept[name] - LEAST[name] for name in wide) >= over:
            for name in wide:
                cut = min(over, kept[name] - LEAST[name])
                kept[name], over = kept[name] - cut, over - cut
            break
        gone = next((name for name in LEFT_OUT if name in kept), None)
        if gone is None:
            kept = {name: min(kept[name], LEAST.get(name, kept[name])) for name in kept}
            kept["recommendation"] = max(8, kept["recommendation"] - max(0, _total(kept) - width))
            break
        del kept[gone]
    return kept


def shortened(text: str, width: int) -> str:
    """A text with its middle left out where it is too long: names of models differ at both ends."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - tail).rstrip()}…{text[len(text) - tail :]}"


def _header(table: Table, width: int) -> list[Text]:
    count = len(table.tried)
    what = Text.assemble("trial ", (table.candidate, "bold"), f" against {count} task{'s' * (count != 1)}")
    kept = f" + {table.calls_kept:,} kept" if table.calls_kept else ""
    fixed = "" if table.calls_fixed_n is None else f" (fixed N: {table.calls_fixed_n:,})"
    facts = f"{span(table.seconds)} · {table.calls_new:,} calls{kept}{fixed} · false switches held at {100 * table.rate:g} %"
    return _apart(what, Text(facts, "dim"), width)


def _footer(table: Table, width: int, courses: Mapping[str, Course]) -> list[Text]:
    counts = {
        "could switch today": table.count("switch", "switch if wanted"),
        "keep": table.count("keep"),
        "undecided": table.count("undecided"),
        "not tried": table.count("none"),
    }
    said = " · ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing to try"
    left = [Text(f"answers already: {', '.join(table.left_out)}", "dim")] if table.left_out else []
    waiting = any(row.holds and row.task not in courses for row in table.tried)
    if waiting:
        following = f"changeover switch --from-trial {table.trial}"
    elif table.ended_at is None:
        following = f"changeover trial {table.candidate}"
    else:
        following = ""
    return [*left, *_apart(Text(said), Text(following, "bold"), width)]


def _apart(left: Text, right: Text, width: int) -> list[Text]:
    """Two texts at both ends of a line no wider than the table, or below each other."""
    if not right:
        return [left]
    if left.cell_len + 3 + right.cell_len > width:
        return [left, right]
    return [Text.assemble(left, "   ", right)]


def _cells(row: Row, difference: str, licence: str | None) -> dict[str, Cell]:
    outcome = row.outcome
    verdict = row.verdict
    if outcome.kind == "running":
        verdict = f"{row.samples} of {row.max_samples}" if row.max_samples else "begins"
    return {
        "task": Cell(row.task),
        "incumbent": Cell(outcome.incumbent or UNKNOWN),
        "verdict": Cell(verdict, "dim" if outcome.kind == "running" else STYLE_OF_VERDICT.get(row.verdict, "")),
        "difference": Cell(difference),
        "p95": Cell(_times(outcome.p95_ratio)),
        "cost": Cell(_times(outcome.cost_ratio)),
        "licence": Cell(licence or "unknown", "" if licence else "dim"),
        "recommendation": Cell(row.recommendation, STYLE_OF_ADVICE.get(row.advice, "")),
    }


def _by_tokens(table: Table) -> bool:
    return any(row.outcome.cost_by == "tokens" for row in table.tried)


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Differences with their intervals, their signs and brackets below each other."""
    parts = [_parts(row) for row in rows]
    known = [part for part in parts if part is not None]
    sizes = [max((len(part[place]) for part in known), default=0) for place in range(3)]
    return [
        UNKNOWN if part is None else f"{part[0]:>{sizes[0]}}  [{part[1]:>{sizes[1]}}, {part[2]:>{sizes[2]}}]"
        for part in parts
    ]


def _parts(row: Row) -> tuple[str, str, str] | None:
    """Difference, and the ends of its interval rounded outwards, in points."""
    if row.difference is None or row.low is None or row.high is None:
        return None
    # Rounded first: 0.29 is 28.999… points.
    low, high = math.floor(round(100 * row.low, 6)), math.ceil(round(100 * row.high, 6))
    return _signed(row.difference), _whole(low), _whole(high)


def _signed(share: float) -> str:
    shown = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


def _whole(points: int) -> str:
    return f"{points:+d}".replace("-", "−") if points else "0"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return UNKNOWN
    return f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"


def _widths(rows: Sequence[Mapping[str, Cell]], names: Mapping[str, str]) -> dict[str, int]:
    shown = [row for row in rows if row["difference"].text != UNKNOWN or not row["recommendation"].text]
    return {
        name: max(
            [cell_len(names.get(name, name)), *(cell_len(row[name].text) for row in _of(name, rows, shown))],
        )
        for name in COLUMNS
    }


def _of(
    name: str, rows: Sequence[Mapping[str, Cell]], measured: Sequence[Mapping[str, Cell]]
) -> Sequence[Mapping[str, Cell]]:
    """Rows that say how wide a column is: reasons of what was not measured reach over several columns."""
    return measured if name == "recommendation" else rows


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _line(cells: Mapping[str, Cell], widths: Mapping[str, int]) -> Text:
    line = Text(no_wrap=True, end="")
    for place, (name, size) in enumerate(widths.items()):
        cell = cells[name]
        text = _clipped(cell.text, size) if name == "recommendation" else shortened(cell.text, size)
        pad = " " * (size - cell_len(text))
        last = place == len(widths) - 1
        line.append(GAP if place else "")
        line.append(f"{pad}{text}" if name in RIGHT else text if last else f"{text}{pad}", cell.style)
    return line


def _row_line(row: Row, cells: Mapping[str, Cell], widths: Mapping[str, int], width: int) -> tuple[Text, str]:
    """A line, and the whole of what had to be cut in it."""
    said = cells["recommendation"]
    if row.difference is not None or not said.text:
        line = _line(cells, widths)
        return line, said.text if cell_len(said.text) > widths["recommendation"] else ""
    names = list(widths)
    before = {name: widths[name] for name in names[: names.index("verdict") + 1]}
    line = _line(cells, before)
    if pad := _total(before) - line.cell_len:
        line.append(" " * pad)
    room = width - line.cell_len - len(GAP)
    line.append(GAP + _clipped(said.text, room), "dim")
    return line, said.text if cell_len(said.text) > room else ""


def _clipped(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"


def _note(task: str, text: str) -> list[Text]:
    """What a line had no room for: below the table it may be as long as it is."""
    return [Text.assemble((f"{task}: ", ""), (text, "dim"))]


def _outcome_line(task: str, course: Course) -> Text:
    return Text.assemble(f"{task}: ", (course_line(course), "green" if course.time is not None else "dim"))


def _facts(row: Row) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(row).items() if name != "outcome"}
    return {**facts, **asdict(row.outcome)}

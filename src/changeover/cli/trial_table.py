"""A trial as a person reads it: one line a task, aligned, in quiet colours, never wider than the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from changeover.cli.columns import GAP, UNKNOWN, Cell, Columns, apart, clipped, total, widest
from changeover.core.clock import span
from changeover.evals.trials import Row, Table
from changeover.rollouts.duration import Course, course_line

COLUMNS = Columns(
    names=("task", "incumbent", "verdict", "difference", "p95", "cost", "licence", "recommendation"),
    right=("p95", "cost"),
    concessions=(
        ("incumbent", 18),
        ("task", 16),
        ("licence", 0),
        ("recommendation", 26),
        ("cost", 0),
        ("p95", 0),
        ("incumbent", 0),
        ("difference", 0),
    ),
)
STYLE_OF_VERDICT = {
    "better": "green",
    "worse": "red",
    "not as good": "red",
    "inconclusive": "yellow",
    "not tried": "dim",
    "waiting": "dim",
}
STYLE_OF_ADVICE = {"switch": "bold green", "switch if wanted": "green", "undecided": "yellow", "none": "dim"}


def table_lines(
    table: Table, width: int, courses: Mapping[str, Course] | None = None, *, running: bool = False
) -> list[Text]:
    """The whole of it: a header, a line for each task, what was left out, counts and the next command.

    Args:
        table: The trial.
        width: Columns that there are.
        courses: What became of its switches, by task.
        running: Whether it is under way, so that nothing is to be done next.
    """
    parts = zip(table.tried, _aligned(table.tried), _costs(table.tried), strict=True)
    rows = [_cells(row, difference, cost, table.licence) for row, difference, cost in parts]
    headings = {name: Cell(name, "dim") for name in COLUMNS.names}
    if all(row.outcome.cost_by != "price" for row in table.tried):
        headings["cost"] = Cell("tokens", "dim")
    widths = COLUMNS.fitted(_widths(rows, headings), width)
    lines = [*_header(table, width, licence="licence" not in widths), COLUMNS.line(headings, widths)]
    notes: list[Text] = []
    for row, cells in zip(table.tried, rows, strict=True):
        line, cut = _row_line(row, cells, widths, width)
        lines.append(line)
        if cut:
            notes += _note(row.task, cut)
    notes += [_outcome_line(task, course) for task, course in (courses or {}).items()]
    return [*lines, *notes, *_footer(table, width, courses or {}, running=running)]


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


def _header(table: Table, width: int, *, licence: bool) -> list[Text]:
    """What is tried and what it took; the licence too where it has no column."""
    count = len(table.tried)
    of_licence = f" ({table.licence or 'licence unknown'})" if licence else ""
    against = f"{of_licence} against {count} task{'s' * (count != 1)}"
    what = Text.assemble("trial ", (table.candidate, "bold"), against)
    kept = f" + {table.calls_kept:,} kept" if table.calls_kept else ""
    fixed = "" if table.calls_fixed_n is None else f" (fixed N: {table.calls_fixed_n:,})"
    facts = f"{span(table.seconds)} · {table.calls_new:,} calls{kept}{fixed} · false switches held at {100 * table.rate:g} %"
    return apart(what, Text(facts, "dim"), width)


def _footer(table: Table, width: int, courses: Mapping[str, Course], *, running: bool) -> list[Text]:
    counts = {
        "could switch today": table.count("switch", "switch if wanted"),
        "keep": table.count("keep"),
        "undecided": table.count("undecided") - table.to_go,
        "denied": table.denied,
        "not tried": table.count("none") - table.denied,
        "to go": table.to_go,
    }
    said = " · ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing to try"
    left = [Text(f"answers already: {', '.join(table.left_out)}", "dim")] if table.left_out else []
    waiting = any(row.holds and row.task not in courses for row in table.tried)
    following = [f"changeover switch --from-trial {table.trial}"] if waiting else []
    if table.ended_at is None:
        following.append(f"changeover trial {table.candidate} goes on")
    return [*left, *apart(Text(said), Text("" if running else " · ".join(following), "bold"), width)]


def _cells(row: Row, difference: str, cost: str, licence: str | None) -> dict[str, Cell]:
    outcome = row.outcome
    verdict, denied = row.verdict, outcome.kind == "denied"
    if denied:
        verdict = UNKNOWN
    if outcome.kind == "running":
        verdict = f"{row.samples} of {row.max_samples}" if row.max_samples else "begins"
    return {
        "task": Cell(row.task),
        "incumbent": Cell(outcome.incumbent or UNKNOWN),
        "verdict": Cell(verdict, "dim" if outcome.kind == "running" else STYLE_OF_VERDICT.get(row.verdict, "")),
        "difference": Cell(difference),
        "p95": Cell(_times(outcome.p95_ratio)),
        "cost": Cell(cost),
        "licence": Cell("denied", "red") if denied else Cell(licence or "unknown", "" if licence else "dim"),
        "recommendation": Cell(" ".join(row.recommendation.split()), STYLE_OF_ADVICE.get(row.advice, "")),
    }


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Differences with their intervals, their signs and brackets below each other."""
    parts = [_parts(row) for row in rows]
    known = [part for part in parts if part is not None]
    sizes = [max((len(part[place]) for part in known), default=0) for place in range(3)]
    return [
        UNKNOWN if part is None else f"{part[0]:>{sizes[0]}}  [{part[1]:>{sizes[1]}}, {part[2]:>{sizes[2]}}]"
        for part in parts
    ]


def _costs(rows: Sequence[Row]) -> list[str]:
    """Ratios of costs; beside those by declared prices, those by tokens alone say so."""
    mixed = {row.outcome.cost_by for row in rows} >= {"price", "tokens"}
    return [
        f"{_times(row.outcome.cost_ratio)}{' tok' if mixed and row.outcome.cost_by == 'tokens' else ''}" for row in rows
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


def _widths(rows: Sequence[Mapping[str, Cell]], headings: Mapping[str, Cell]) -> dict[str, int]:
    # Reasons of what was not measured reach over several columns, so they say nothing of how wide one is.
    measured = [row for row in rows if row["difference"].text != UNKNOWN]
    return {
        name: widest(name, heading.text, measured if name == "recommendation" else rows)
        for name, heading in headings.items()
    }


def _row_line(row: Row, cells: Mapping[str, Cell], widths: Mapping[str, int], width: int) -> tuple[Text, str]:
    """A line, and the whole of what had to be cut in it."""
    said = cells["recommendation"]
    if row.difference is not None or not said.text:
        line = COLUMNS.line(cells, widths)
        return line, said.text if cell_len(said.text) > widths["recommendation"] else ""
    names = list(widths)
    before = {name: widths[name] for name in names[: names.index("verdict") + 1]}
    line = COLUMNS.line(cells, before)
    if pad := total(before) - line.cell_len:
        line.append(" " * pad)
    room = width - line.cell_len - len(GAP)
    line.append(GAP + clipped(said.text, room), "dim")
    return line, said.text if cell_len(said.text) > room else ""


def _note(task: str, text: str) -> list[Text]:
    """What a line had no room for: below the table it may be as long as it is."""
    return [Text.assemble((f"{task}: ", ""), (text, "dim"))]


def _outcome_line(task: str, course: Course) -> Text:
    return Text.assemble(f"{task}: ", (course_line(course), "green" if course.time is not None else "dim"))


def _facts(row: Row) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(row).items() if name != "outcome"}
    return {**facts, **asdict(row.outcome)}

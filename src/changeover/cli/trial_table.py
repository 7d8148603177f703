"""A trial as a person reads it: one line a task, aligned, in quiet colours, never wider than the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from changeover.app.trial_lines import Line, aligned, cost_title, counts_of, lines_of, to_switch, took
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
    rows = [_cells(line) for line in lines_of(table)]
    headings = {name: Cell(name, "dim") for name in COLUMNS.names}
    headings["cost"] = Cell(cost_title(table), "dim")
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
        f"  {row.task}: {row.verdict}  {aligned([row])[0]}  {row.samples} samples, "
        f"{row.outcome.calls_new} new calls, {span(row.outcome.seconds)}"
    )


def _header(table: Table, width: int, *, licence: bool) -> list[Text]:
    """What is tried and what it took; the licence too where it has no column."""
    count = len(table.tried)
    of_licence = f" ({table.licence or 'licence unknown'})" if licence else ""
    against = f"{of_licence} against {count} task{'s' * (count != 1)}"
    what = Text.assemble("trial ", (table.candidate, "bold"), against)
    return apart(what, Text(took(table), "dim"), width)


def _footer(table: Table, width: int, courses: Mapping[str, Course], *, running: bool) -> list[Text]:
    said = " · ".join(f"{number} {name}" for name, number in counts_of(table).items() if number) or "nothing to try"
    left = [Text(f"answers already: {', '.join(table.left_out)}", "dim")] if table.left_out else []
    following = [f"changeover switch --from-trial {table.trial}"] if to_switch(table, courses) else []
    if table.ended_at is None:
        following.append(f"changeover trial {table.candidate} goes on")
    return [*left, *apart(Text(said), Text("" if running else " · ".join(following), "bold"), width)]


def _cells(line: Line) -> dict[str, Cell]:
    row = line.row
    return {
        "task": Cell(row.task),
        "incumbent": Cell(line.incumbent),
        "verdict": Cell(line.verdict, "dim" if line.running else STYLE_OF_VERDICT.get(row.verdict, "")),
        "difference": Cell(line.difference),
        "p95": Cell(line.p95),
        "cost": Cell(line.cost),
        "licence": Cell(line.licence, "red" if line.denied else "dim" if line.licence == "unknown" else ""),
        "recommendation": Cell(line.recommendation, STYLE_OF_ADVICE.get(row.advice, "")),
    }


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

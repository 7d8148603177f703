"""The work of `changeover lockin`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from changeover.app.lockin import Report, lockin
from changeover.app.lockin.answers import TaskReport
from changeover.app.lockin.shares import Share
from changeover.app.looking import opened_to_look
from changeover.cli.columns import UNKNOWN, Cell, Columns, hanging, widest
from changeover.cli.frame import here, note, out, print_json
from changeover.cli.when import moment
from changeover.core.clock import span

COLUMNS = Columns(
    names=("task", "answers now", "passed", "could try", "denied", "calls", "time", "cost"),
    right=("passed", "could try", "denied", "calls", "time", "cost"),
    concessions=(("answers now", 18), ("task", 14), ("denied", 0), ("cost", 0), ("time", 0), ("answers now", 0)),
)
LEGEND = (
    "passed: against what answers now · could try: allowed, fits here, context long enough · denied: by the policy · "
    "calls, time, cost: of the trial that is still needed"
)
SHARES = 5
"""Of each kind that are shown."""


def show_lockin(since: str, as_json: bool) -> None:
    """Print the report."""
    with opened_to_look(here()) as installation:
        for problem in installation.problems:
            note(f"left out: {problem.message}")
        report = lockin(installation, moment(since, installation.clock.now(), "--since"))
    if as_json:
        print_json(document(report))
        return
    for line in report_lines(report, out.width):
        out.print(line)


def document(report: Report) -> dict[str, Any]:
    """The same facts for `--json`."""
    return {
        "since": report.since,
        "summary": {
            "tasks": len(report.tasks),
            "could_leave_on_evidence": report.free,
            "could_leave_after_a_trial": report.after_a_trial,
            "nothing_to_try": report.tied,
            "nobody_answers_yet": report.unanswered,
        },
        "tasks": list(report.tasks),
        "shares": {name: list(each) for name, each in report.shares.items()},
        "closed_models": list(report.exemptions),
        "export": report.export,
    }


def report_lines(report: Report, width: int) -> list[Text]:
    """Tasks with their ways out, what only some families understand, shares, exemptions, what export gives."""
    lines = [*hanging("", Text(_summary(report), "bold"), width), Text(""), *_tasks(report, width)]
    features = [(task.task, found) for task in report.tasks for found in task.features]
    lines += [Text(""), Text("what only some families understand", "bold")]
    if not features:
        lines.append(Text("  nothing was found in prompts, parameters and recorded requests", "dim"))
    for task, found in features:
        by = ", ".join(found.understood_by) or "no family that is known"
        said = Text(f"{found.feature}, in {found.where}: understood by {by}")
        lines += hanging(f"  {task:<16} ", said, width)
    lines += [Text(""), Text(f"shares of tasks, and of requests since {report.since:%Y-%m-%d}", "bold")]
    for dimension, found in report.shares.items():
        said = Text(" · ".join(_share(each) for each in found[:SHARES]) or UNKNOWN)
        if len(found) > SHARES:
            said.append(f" · {len(found) - SHARES} more", "dim")
        lines += hanging(f"  {dimension:<16} ", said, width)
    for each in report.exemptions:
        left = f"{each.days_left} days left" if each.days_left >= 0 else f"ended {-each.days_left} days ago"
        said = (
            f"{each.model} may answer {', '.join(each.tasks)} until {each.until} ({left}), by {each.by}: {each.reason}"
        )
        lines += hanging("  closed model     ", Text(said, "" if each.days_left >= 0 else "red"), width)
    return [*lines, Text(""), *hanging("  ", Text(report.export, "dim"), width)]


def _summary(report: Report) -> str:
    said = (
        f"{report.free} of {len(report.tasks)} tasks could leave today on evidence · "
        f"{report.after_a_trial} after a trial · {report.tied} have nothing to try here"
    )
    return f"{said} · {report.unanswered} nobody answers yet" if report.unanswered else said


def _tasks(report: Report, width: int) -> Iterable[Text]:
    rows = [_cells(each) for each in report.tasks]
    widths = COLUMNS.fitted({name: widest(name, name, rows) for name in COLUMNS.names}, width)
    yield COLUMNS.line({name: Cell(name, "dim") for name in COLUMNS.names}, widths)
    for task, row in zip(report.tasks, rows, strict=True):
        yield COLUMNS.line(row, widths)
        yield from hanging("    ", Text(task.leaving.says, "dim"), width)
        if task.leaving.command is not None:
            yield Text.assemble("    → ", (task.leaving.command, "bold"), no_wrap=True)
    yield from hanging("", Text(LEGEND, "dim"), width)


def _cells(task: TaskReport) -> dict[str, Cell]:
    cost = task.leaving.cost
    known = cost is not None
    return {
        "task": Cell(task.task),
        "answers now": Cell(task.incumbent or UNKNOWN),
        "passed": Cell(str(len(task.proven)), "green" if task.proven else ""),
        "could try": Cell(str(len(task.could_try)), "" if task.could_try else "red"),
        "denied": Cell(str(task.denied)),
        "calls": Cell(f"{cost.calls:,}{'+' if cost.judged else ''}" if known else UNKNOWN),
        "time": Cell(f"~ {span(max(cost.seconds, 1))}" if known and cost.seconds is not None else UNKNOWN),
        "cost": Cell(f"${cost.usd:.2f}" if known and cost.usd is not None else UNKNOWN),
    }


def _share(share: Share) -> str:
    asked = "" if share.requests_share is None else f" / {100 * share.requests_share:.0f} %"
    return f"{share.of} {100 * share.tasks_share:.0f} %{asked}"

"""One candidate on every task: a verdict each, and which of them hold together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from changeover.app.comparisons import report_of
from changeover.app.installation import Installation
from changeover.app.matching import match_of, prepared, with_budget
from changeover.cli.frame import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS, actor, note, out, plain, print_json, run
from changeover.cli.measure import measure
from changeover.cli.reporting import write_page
from changeover.cli.running import ensure_running
from changeover.core.errors import ChangeoverError, GateError
from changeover.evals.comparison import Live
from changeover.evals.multiplicity import RATE, e_bh
from changeover.evals.report.junit import fleet_to_junit
from changeover.evals.report.record import ComparisonReport
from changeover.evals.report.words import odds, points


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The candidate on one task."""

    task: str
    comparison: str | None = None
    live: Live | None = None
    report: ComparisonReport | None = None
    skipped: str | None = None
    """Why there is no comparison."""
    broken: bool = False
    """Whether it should have been compared and could not be."""


def compare_every(
    installation: Installation,
    candidate: str,
    max_calls: int | None,
    max_cost_usd: float | None,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Compare on every task and say which switches hold together. Returns the exit status: the worst of them.

    The budget is that of each task.
    """
    ensure_running(installation, candidate)
    trials = [_trial(installation, name, candidate, max_calls, max_cost_usd) for name in sorted(installation.tasks)]
    measured = [trial for trial in trials if trial.live is not None]
    # All that were compared take part; only those that pass by themselves may switch.
    rejected = e_bh({trial.task: trial.live.no_worse for trial in measured if trial.live}, RATE)
    together = {trial.task for trial in measured if trial.live and trial.live.verdict == "pass"} & rejected
    if junit is not None:
        junit.write_text(fleet_to_junit([t.report for t in measured if t.report is not None]), encoding="utf-8")
    if as_json:
        print_json({"candidate": candidate, "false_switches": RATE, "tasks": [_row(t, together) for t in trials]})
    else:
        out.print(fleet_table(candidate, trials, together))
        out.print(_summary(trials, together))
    verdicts = {trial.live.verdict for trial in measured if trial.live}
    if "fail" in verdicts:
        return EXIT_FAIL
    open_ones = not verdicts or "inconclusive" in verdicts or any(trial.broken for trial in trials)
    return EXIT_INCONCLUSIVE if open_ones else EXIT_PASS


def _trial(
    installation: Installation, task: str, candidate: str, max_calls: int | None, max_cost_usd: float | None
) -> Trial:
    try:
        ready = prepared(installation, task)
        match = with_budget(match_of(installation, ready, candidate, actor()), max_calls, max_cost_usd)
        note(f"{task}: {match.incumbent.deployment} → {candidate}")
        id, live = run(measure(installation, ready, match))
        report = report_of(installation, id)
        write_page(installation, report)
    except GateError as exc:
        return Trial(task=task, skipped=exc.message)
    except ChangeoverError as exc:
        # One task that cannot be measured is a line of the table; the others are measured.
        return Trial(task=task, skipped=exc.message, broken=True)
    return Trial(task=task, comparison=id, live=live, report=report)


def fleet_table(candidate: str, trials: list[Trial], together: set[str]) -> Table:
    """A line for each task."""
    table = Table(box=None, pad_edge=False, title=f"{candidate} on {len(trials)} tasks", title_justify="left")
    for column in ("task", "incumbent", "verdict", "difference", "samples", "evidence", "time", "recommendation"):
        table.add_column(column, overflow="fold")
    for trial in trials:
        live = trial.live
        if live is None:
            table.add_row(trial.task, "–", "–", "–", "–", "–", "–", plain(trial.skipped))
            continue
        table.add_row(
            trial.task,
            live.incumbent,
            live.shown or live.verdict,
            f"{points(live.difference)}  \\[{points(live.low)}, {points(live.high)}]",
            str(live.samples),
            odds(live.no_worse),
            "–" if live.latency_ratio is None else f"{live.latency_ratio:.1f}×",
            _recommendation(trial, together),
        )
    return table


def _recommendation(trial: Trial, together: set[str]) -> str:
    assert trial.live is not None
    if trial.live.verdict == "fail":
        return "keep"
    if trial.live.verdict == "inconclusive":
        return trial.live.stopped or "undecided"
    if trial.task not in together:
        return f"passes alone, not at {100 * RATE:g} % false switches over all tasks"
    return "switch" if trial.live.shown == "better" else "switch if wanted"


def _summary(trials: list[Trial], together: set[str]) -> str:
    verdicts = [trial.live.verdict for trial in trials if trial.live is not None]
    calls = sum(trial.live.calls_new for trial in trials if trial.live is not None)
    fixed = sum(trial.live.calls_fixed_n or 0 for trial in trials if trial.live is not None)
    return (
        f"{len(together)} could switch together (false switches held at {100 * RATE:g} %) · "
        f"{verdicts.count('fail')} keep · {verdicts.count('inconclusive')} undecided · "
        f"{len(trials) - len(verdicts)} not measured · {calls} new calls, fixed N {fixed}"
    )


def _row(trial: Trial, together: set[str]) -> dict[str, Any]:
    return {
        "task": trial.task,
        "comparison": trial.comparison,
        "together": trial.task in together,
        "skipped": trial.skipped,
        **({} if trial.live is None else asdict(trial.live)),
    }

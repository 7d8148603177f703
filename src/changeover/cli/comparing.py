"""The work of `changeover compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from changeover.app.comparisons import report_of
from changeover.app.installation import Installation
from changeover.app.kept import match_of_rollout
from changeover.app.matching import Prepared, match_of, prepared, with_budget
from changeover.cli.exits import EXIT_FAIL, EXIT_OF_VERDICT, EXIT_PASS
from changeover.cli.frame import actor, print_json, require, run
from changeover.cli.measure import measure
from changeover.cli.reporting import named, write_page
from changeover.cli.running import ensure_running, opened
from changeover.cli.signature import later
from changeover.cli.terminal import out, plain
from changeover.cli.verdict import beside, report_lines, verdict_lines
from changeover.evals.comparison import Match
from changeover.evals.queries import compared_samples, find_comparison
from changeover.evals.replay import replay
from changeover.evals.report.junit import to_junit
from changeover.rollouts.queries import find_rollout
from changeover.serving.queries import load_variants

fleet = later("changeover.cli.fleet")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What was asked for beside the comparison itself."""

    max_calls: int | None
    max_cost_usd: float | None
    again: int
    html: Path | None
    junit: Path | None


def compare_one(task: str, candidate: str, ask: Ask, as_json: bool) -> int:
    """Compare on one task. Returns the exit status."""
    installation = opened()
    ready = prepared(installation, task)  # before a candidate is fetched for nothing
    ensure_running(installation, candidate)
    match = match_of(installation, ready, candidate, actor())
    return _compare(installation, ready, match, ask, as_json)


def compare_rollout(number: int, ask: Ask, as_json: bool) -> int:
    """Compare exactly what a rollout is about. Returns the exit status."""
    installation = opened()
    with installation.store.read() as connection:
        rollout = require(find_rollout(connection, number), f"There is no rollout {number}.")
        candidate = load_variants(connection, [rollout.candidate])[rollout.candidate]
    ready, match = match_of_rollout(installation, rollout, actor())
    ensure_running(installation, candidate.deployment)
    return _compare(installation, ready, match, ask, as_json)


def _compare(installation: Installation, ready: Prepared, match: Match, ask: Ask, as_json: bool) -> int:
    match = with_budget(match, ask.max_calls, ask.max_cost_usd)
    id, ended = run(measure(installation, ready, match, ask.again))
    report = report_of(installation, id)
    page = write_page(installation, report, ask.html) if ask.html is not None or not as_json else None
    if ask.junit is not None:
        ask.junit.write_text(to_junit(report), encoding="utf-8")
    if as_json:
        print_json({"comparison": id, **vars(ended), "report": page, **beside(report)})
    else:
        out.print(verdict_lines(id, ended))
        for line in report_lines(report):
            out.print(f"      {line}")
        if page is not None:
            out.print(f"      report  {named(page)}")
        if ended.verdict == "pass":
            out.print(f"      next  changeover switch {match.task.name} --to {match.candidate.deployment}")
    return EXIT_OF_VERDICT[ended.verdict]


def compare_all(
    candidate: str, max_calls: int | None, max_cost_usd: float | None, junit: Path | None, as_json: bool
) -> int:
    """Compare on every task. Returns the exit status: the worst of them."""
    return fleet().compare_every(opened(), candidate, max_calls, max_cost_usd, junit, as_json)


def replay_one(id: str, as_json: bool) -> int:
    """Recompute the verdict of a kept comparison from its scores. Returns the exit status: pass where they agree."""
    installation = opened()
    with installation.store.read() as connection:
        comparison, rows = find_comparison(connection, id), compared_samples(connection, id)
    again = replay(comparison, rows)
    if as_json:
        print_json({**vars(again), "agrees": again.agrees})
    elif again.agrees:
        recorded = "as recorded" if again.recorded is not None else "the comparison itself was interrupted"
        out.print(f"{id}: {again.verdict} from {again.samples} stored samples, {recorded}")
    else:
        out.print(f"[red]{id}: the record and its scores disagree[/]  {plain(again.disagreement)}")
    return EXIT_PASS if again.agrees else EXIT_FAIL

"""The work of `changeover switch`."""

from __future__ import annotations

from changeover.app.installation import Installation
from changeover.app.matching import Prepared, known_verdict, match_of, prepared
from changeover.cli.follow import follow
from changeover.cli.frame import (
    EXIT_FAIL,
    EXIT_OF_VERDICT,
    EXIT_PASS,
    actor,
    note,
    out,
    print_json,
    run,
)
from changeover.cli.measure import measure
from changeover.cli.reporting import report_of, write_page
from changeover.cli.running import ensure_running, opened
from changeover.cli.verdict import verdict_lines
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison, find_comparison
from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Rollout
from changeover.rollouts.gate import check_gate


def switch(task: str, to: str, reason: str, detach: bool, as_json: bool) -> int:
    """Compare unless that is done, then begin the rollout and follow it. Returns the exit status."""
    installation = opened()
    ready = prepared(installation, task)  # before a candidate is fetched for nothing
    ensure_running(installation, to)
    match = match_of(installation, ready, to, actor())
    comparison = _evidence(installation, ready, match, as_json)
    if comparison.verdict != "pass":
        if as_json:
            print_json({"task": task, "comparison": comparison.id, "verdict": comparison.verdict, "state": "refused"})
        return EXIT_OF_VERDICT[str(comparison.verdict)]
    check_gate(comparison, task=task, candidate=to, gate=match.task.declared.gate)
    rollout = begin_rollout(installation, match, comparison, reason)
    if detach:
        print_json({"rollout": rollout.id}) if as_json else out.print(f"rollout {rollout.id} began")
        return EXIT_PASS
    ended = follow(installation, rollout, quiet=as_json)
    if as_json:
        print_json({"task": task, "comparison": comparison.id, "rollout": ended})
    return EXIT_PASS if ended.state in ("baking", "done") else EXIT_FAIL


def _evidence(installation: Installation, ready: Prepared, match: Match, as_json: bool) -> Comparison:
    known = known_verdict(installation, match)
    if known is not None:
        note(f"evidence is there: comparison {known.id}, {known.verdict}")
        return known
    id, ended = run(measure(installation, ready, match))
    page = write_page(installation, report_of(installation, id))
    if not as_json:
        out.print(verdict_lines(id, ended))
        out.print(f"      report  {page}")
    with installation.store.read() as connection:
        return find_comparison(connection, id)


def begin_rollout(installation: Installation, match: Match, comparison: Comparison, reason: str) -> Rollout:
    """Begin the canary that a comparison allows."""
    why = reason or f"{match.candidate.deployment} passed {comparison.id}"
    by = By(actor=actor(), reason=why, now=installation.clock.now())
    with installation.store.write() as connection:
        return start(
            connection,
            match.candidate,
            plan_of(match.task.declared),
            comparison.id,
            by,
            measured_against=match.incumbent.id,
        )

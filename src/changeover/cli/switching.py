"""The work of `changeover switch`."""

from __future__ import annotations

from changeover.app import steering
from changeover.app.installation import Installation
from changeover.app.matching import Prepared, known_verdict, match_of, prepared
from changeover.cli.follow import follow, header_line
from changeover.cli.frame import (
    EXIT_FAIL,
    EXIT_INCONCLUSIVE,
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
    if detach and known_verdict(installation, match) is None:
        return _propose(installation, match, reason, as_json)
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
    if not as_json:
        out.print(header_line(installation, rollout))
    ended = follow(installation, rollout, quiet=as_json)
    if as_json:
        print_json({"task": task, "comparison": comparison.id, "rollout": ended})
    return _exit_status(ended)


def _propose(installation: Installation, match: Match, reason: str, as_json: bool) -> int:
    """Leave it all to the running system, the evaluation too."""
    why = reason or f"{match.candidate.deployment} is to be measured"
    by = By(actor(), why, installation.clock.now())
    rollout = steering.propose(installation.store, match.candidate, plan_of(match.task.declared), by)
    if as_json:
        print_json({"rollout": rollout.id})
    else:
        out.print(f"rollout {rollout.id} began with its evaluation: changeover status {rollout.task}")
    return EXIT_PASS


def _exit_status(rollout: Rollout) -> int:
    if rollout.hold is not None:
        return EXIT_INCONCLUSIVE
    return EXIT_PASS if rollout.state in ("baking", "done") else EXIT_FAIL


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

"""The work of `changeover switch`."""

from __future__ import annotations

from dataclasses import dataclass

from changeover.app import steering
from changeover.app.comparisons import report_of
from changeover.app.exchange import exchange_plan_of, keep_candidate, known_evidence, needs_exchange
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_switch
from changeover.app.matching import Prepared, known_verdict, match_of, prepared
from changeover.app.readiness import fetched
from changeover.app.switching import begin_on_evidence, check_incumbent_runs
from changeover.cli.follow import follow, header_lines
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
from changeover.cli.reporting import named, write_page
from changeover.cli.running import ensure_running, fetch_of, opened
from changeover.cli.verdict import verdict_lines
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison, find_comparison
from changeover.rollouts.actions import By, plan_of
from changeover.rollouts.decide import Plan, Rollout


@dataclass(frozen=True)
class Ask:
    """What was asked for beside who takes over."""

    reason: str
    detach: bool
    as_json: bool


def switch(task: str, to: str, ask: Ask) -> int:
    """Compare unless that is done, then begin the rollout and follow it. Returns the exit status."""
    installation = opened()
    ready = prepared(installation, task)  # before a candidate is fetched for nothing
    check_switch(installation, task, to)
    fetched(installation, to, fetch_of(installation))
    if needs_exchange(installation, task, to):
        return _exchange(installation, ready, to, ask)
    ensure_running(installation, to)
    match = match_of(installation, ready, to, actor())
    check_incumbent_runs(installation, match)
    if ask.detach and _undecided(installation, match):
        return _propose(installation, match, ask)
    comparison = _evidence(installation, ready, match, ask.as_json)
    return _begin(installation, match, comparison, plan_of(match.task.declared), ask)


def _undecided(installation: Installation, match: Match) -> bool:
    """Whether evidence has yet to be made, or decided nothing: then the rollout waits for more, or for somebody's leave."""
    known = known_verdict(installation, match)
    return known is None or known.verdict == "inconclusive"


def _exchange(installation: Installation, ready: Prepared, to: str, ask: Ask) -> int:
    """Where memory does not hold both: on evidence that is there already, in the incumbent's place."""
    keep_candidate(installation, to, actor())
    match = match_of(installation, ready, to, actor())
    comparison = known_evidence(installation, match)
    if not ask.as_json:
        note(f"memory does not hold `{to}` beside `{match.incumbent.deployment}`: the engines are exchanged")
    plan = exchange_plan_of(installation, match.task.name, to)
    return _begin(installation, match, comparison, plan, ask)


def _begin(installation: Installation, match: Match, comparison: Comparison, plan: Plan, ask: Ask) -> int:
    """Begin the rollout, if the evidence allows it, and follow it."""
    task = match.task.name
    if comparison.verdict != "pass":
        if ask.as_json:
            print_json({"task": task, "comparison": comparison.id, "verdict": comparison.verdict, "state": "refused"})
        elif comparison.verdict == "inconclusive":
            note(
                f"More samples would decide it. Where somebody answers for it instead: `changeover switch {task} --to "
                f"{match.candidate.deployment} --detach`, then `changeover override {task} --gate evaluation`."
            )
        return EXIT_OF_VERDICT[str(comparison.verdict)]
    rollout = begin_rollout(installation, match, comparison, ask.reason, plan)
    if ask.detach:
        print_json({"rollout": rollout.id}) if ask.as_json else out.print(f"rollout {rollout.id} began")
        return EXIT_PASS
    if not ask.as_json:
        for line in header_lines(installation, rollout, out.width):
            out.print(line)
    ended = follow(installation, rollout, quiet=ask.as_json)
    if ask.as_json:
        print_json({"task": task, "comparison": comparison.id, "rollout": ended})
    return _exit_status(ended)


def _propose(installation: Installation, match: Match, ask: Ask) -> int:
    """Leave it all to the running system, the evaluation too."""
    why = ask.reason or f"{match.candidate.deployment} is to be measured"
    by = By(actor(), why, installation.clock.now())
    rollout = steering.propose(installation.store, match.candidate, plan_of(match.task.declared), by)
    if ask.as_json:
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
        out.print(f"      report  {named(page)}")
    with installation.store.read() as connection:
        return find_comparison(connection, id)


def begin_rollout(
    installation: Installation, match: Match, comparison: Comparison, reason: str, plan: Plan | None = None
) -> Rollout:
    """Begin the rollout that a comparison allows, by the task's steps unless another plan is given."""
    why = reason or f"{match.candidate.deployment} passed {comparison.id}"
    by = By(actor=actor(), reason=why, now=installation.clock.now())
    return begin_on_evidence(installation, match, comparison, by, plan)

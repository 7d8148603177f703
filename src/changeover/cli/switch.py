"""`changeover switch`: evidence, canary, promotion."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.app.installation import Installation
from changeover.cli.follow import follow
from changeover.cli.frame import (
    EXIT_FAIL,
    EXIT_OF_VERDICT,
    EXIT_PASS,
    Json,
    Reason,
    actor,
    end,
    note,
    out,
    print_json,
    run,
)
from changeover.cli.measure import checked_dataset, known_verdict, match_of, measure, verdict_lines
from changeover.cli.running import ensure_running, opened
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison, find_comparison
from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Rollout
from changeover.rollouts.gate import check_gate
from changeover.tasks.declarations import find_task

app = typer.Typer(add_completion=False)


@app.command()
def switch(
    task: Annotated[str, typer.Argument(help="The task to switch.")],
    to: Annotated[str, typer.Option(help="A deployment, or a card of the library, which is deployed first.")],
    reason: Reason = "",
    detach: Annotated[bool, typer.Option("--detach", help="Begin, and do not follow.")] = False,
    as_json: Json = False,
) -> None:
    """Let a candidate take over: compare unless that is done, then canary by the task's steps, then promotion.

    It goes back by itself if the candidate fails more than the task tolerates. Ends with status 0 promoted,
    1 refused or rolled back, 3 inconclusive.

    Example: changeover switch code --to qwen2.5-coder-0.5b-instruct --reason "better on our cases"
    """
    installation = opened()
    checked_dataset(find_task(installation.tasks, task))  # before a candidate is fetched for nothing
    ensure_running(installation, to)
    match = match_of(installation, task, to)
    comparison = _evidence(installation, match, as_json)
    if comparison.verdict != "pass":
        if as_json:
            print_json({"task": task, "comparison": comparison.id, "verdict": comparison.verdict, "state": "refused"})
        end(EXIT_OF_VERDICT[str(comparison.verdict)])
    check_gate(comparison, task=task, candidate=to)
    rollout = begin_rollout(installation, match, comparison, reason)
    if detach:
        print_json({"rollout": rollout.id}) if as_json else out.print(f"rollout {rollout.id} began")
        return
    ended = follow(installation, rollout, quiet=as_json)
    if as_json:
        print_json({"task": task, "comparison": comparison.id, "rollout": ended})
    end(EXIT_PASS if ended.state in ("baking", "done") else EXIT_FAIL)


def _evidence(installation: Installation, match: Match, as_json: bool) -> Comparison:
    known = known_verdict(installation, match)
    if known is not None:
        note(f"evidence is there: comparison {known.id}, {known.verdict}")
        return known
    id, ended = run(measure(installation, match))
    if not as_json:
        out.print(verdict_lines(id, ended))
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

"""Beginning a switch: what has to be true before, and what kind of beginning the evidence that is there allows."""

from __future__ import annotations

from changeover.app import steering
from changeover.app.deploy import run_again
from changeover.app.exchange import exchange_plan_of, keep_candidate, known_evidence, needs_exchange
from changeover.app.fetching import is_here
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_switch
from changeover.app.matching import known_verdict, match_of, prepared
from changeover.app.readiness import card_to_fetch
from changeover.core.errors import ArtifactError, GateError
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison
from changeover.rollouts.actions import By, plan_of, start
from changeover.rollouts.decide import Plan, Rollout
from changeover.rollouts.gate import check_gate
from changeover.serving.queries import find_deployment


def begin_switch(installation: Installation, task: str, to: str, by: By, *, on_evidence: bool = False) -> Rollout:
    """Begin what `changeover switch --detach` begins, and wait for nothing: the candidate's engine is asked for.

    Args:
        installation: Where.
        task: To be switched.
        to: The deployment that takes over; or a card whose weights are here, of which a deployment is made.
        by: Who begins it.
        on_evidence: Only on evidence that is there. Otherwise the running system makes it where there is none yet.

    Raises:
        GateError: The evidence or the state of the task does not allow it.
        LicenceError: The policy or a licence keeps it from the task.
        EngineError: Memory does not hold it.
        UnknownModelError: There is no deployment and no card of that name.
        ArtifactError: It is a card, and its weights are not here.
    """
    card = card_to_fetch(installation, to)
    ready = prepared(installation, task)
    check_switch(installation, task, to)
    if card is not None and not is_here(card, installation.project.cache):
        raise ArtifactError(f"The weights of `{to}` are not here yet. Fetch them first: `changeover pull {to}`.")
    if needs_exchange(installation, task, to):
        keep_candidate(installation, to, by.actor)
        match = match_of(installation, ready, to, by.actor)
        return begin_on_evidence(
            installation, match, known_evidence(installation, match), by, exchange_plan_of(installation, task, to)
        )
    keep_candidate(installation, to, by.actor)
    match = match_of(installation, ready, to, by.actor)
    check_incumbent_runs(installation, match)
    known = known_verdict(installation, match)
    if on_evidence:
        check_gate(known, task=task, candidate=to, gate=match.task.declared.gate)
    run_again(installation, to, by.actor)
    if known is None or known.verdict == "inconclusive":
        return steering.propose(installation.store, match.candidate, plan_of(match.task.declared), by)
    return begin_on_evidence(installation, match, known, by)


def begin_on_evidence(
    installation: Installation, match: Match, comparison: Comparison, by: By, plan: Plan | None = None
) -> Rollout:
    """Begin the rollout that a comparison allows, by the task's steps unless another plan is given.

    Raises:
        GateError: It does not allow it, or another rollout is under way.
    """
    declared = match.task.declared
    check_gate(comparison, task=match.task.name, candidate=match.candidate.deployment, gate=declared.gate)
    with installation.store.write() as connection:
        return start(
            connection,
            match.candidate,
            plan or plan_of(declared),
            comparison.id,
            by,
            measured_against=match.incumbent.id,
        )


def check_incumbent_runs(installation: Installation, match: Match) -> None:
    """Refuse to begin where nobody answers: neither a shadow nor a canary would ever get a request.

    Raises:
        GateError: The incumbent's engine was stopped.
    """
    name, task = match.incumbent.deployment, match.task.name
    with installation.store.read() as connection:
        desired = find_deployment(connection, name).desired
    if desired != "running":
        raise GateError(
            f"`{name}`, which answers `{task}`, was stopped. Start it first: `changeover deploy {name}`, where memory does "
            f"not hold both with `--instead-of {match.candidate.deployment}`."
        )

"""The gate: which comparison allows a switch, and what to say where none does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from changeover.core.errors import GateError
from changeover.evals.queries import Comparison, find_comparison, passed_since
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import overrides_of
from changeover.tasks.declarations import GateDeclaration


def check_gate(comparison: Comparison | None, *, task: str, candidate: str, gate: GateDeclaration) -> Comparison:
    """Let a switch pass only on a comparison that passed, by rules at least as strict as the task declares now.

    Raises:
        GateError: There is no finished comparison of exactly these variants, its verdict is not `pass`, or what the
            task declared when it was made allowed more.
    """
    if comparison is None or comparison.verdict is None:
        raise GateError(
            f"No evidence yet that `{candidate}` may answer `{task}`. "
            f"Run `changeover compare {task} --candidate {candidate}`."
        )
    if comparison.verdict != "pass":
        advice = (
            "More samples or a larger margin would decide it."
            if comparison.verdict == "inconclusive"
            else "The incumbent stays."
        )
        raise GateError(f"Comparison {comparison.id}: `{candidate}` on `{task}` is `{comparison.verdict}`. {advice}")
    laxer = shortcoming(comparison, gate)
    if laxer is not None:
        raise GateError(
            f"Comparison {comparison.id} was made {laxer}. "
            f"Measure again, with the answers that are there: `changeover compare {task} --candidate {candidate}`."
        )
    return comparison


def shortcoming(comparison: Comparison, gate: GateDeclaration) -> str | None:
    """In what a comparison asked for less than a gate does now; None where it asked for as much or more.

    `beta`, the largest number of samples and the budget make no pass easier.
    """
    plan, samples = comparison.plan, (comparison.summary or {}).get("samples", 0)
    for name in ("margin", "alpha", "max_failed_share"):
        was, now = plan.get(name, 1.0), getattr(gate, name)
        if was > now:
            return f"with `{name}` {was:g}, and the gate asks for {now:g} now"
    if (plan.get("floor") or 0.0) < (gate.floor or 0.0):
        was = "no `floor`" if plan.get("floor") is None else f"`floor` {plan['floor']:g}"
        return f"with {was}, and the gate asks for {gate.floor:g} now"
    if plan.get("min_samples", 1) < gate.min_samples and samples < gate.min_samples:
        return f"with {samples} samples, and the gate asks for {gate.min_samples} now"
    if plan.get("about", "population") != gate.about:
        return f"about the {plan.get('about', 'population')}, and the gate asks about the {gate.about} now"
    if comparison.pool is not None and not gate.covariates:
        return "with covariates, which the gate leaves out of account now"
    return None


def leave_is_over(connection: Connection, rollout: Rollout, now: datetime) -> bool:
    """Whether a rollout went beyond its evaluation by leave to have none, and that has ended before there was evidence."""
    if rollout.state == "evaluation":
        return False
    leaves = [each for each in overrides_of(connection, rollout.id) if each.gate == "evaluation"]
    if not leaves or any(each.ended_at is None and each.expires_at > now for each in leaves):
        return False
    if rollout.comparison is not None and find_comparison(connection, rollout.comparison).verdict == "pass":
        return False
    return not passed_since(
        connection, incumbent=rollout.incumbent, candidate=rollout.candidate, since=rollout.created_at
    )


def check_leave(connection: Connection, rollout: Rollout, now: datetime) -> None:
    """Have a rollout whose leave is over stay where it is.

    Raises:
        GateError: It is over; says what would do instead.
    """
    if leave_is_over(connection, rollout, now):
        raise GateError(
            f"The override of the evaluation has ended, and rollout {rollout.id} of `{rollout.task}` has none that passed. "
            f"Measure it (`changeover compare --rollout {rollout.id}`), answer for it anew "
            f"(`changeover override {rollout.task} --help`), or end it: `changeover abort {rollout.task}`."
        )

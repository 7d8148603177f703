"""A switch where memory holds only one: whether it is one, its plan, and the evidence that has to be there before."""

from __future__ import annotations

from changeover.app.adapting import check_holds_none, engine_of
from changeover.app.deploy import ask_for, first_plan, incumbent_of
from changeover.app.installation import Installation
from changeover.app.matching import known_verdict
from changeover.app.room import check_room, room_for
from changeover.core.errors import GateError
from changeover.evals.comparison import Match
from changeover.evals.queries import Comparison
from changeover.rollouts.actions import plan_of
from changeover.rollouts.decide import Plan
from changeover.rollouts.exchange import exchange_plan, tasks_on
from changeover.serving.deployments import plan_from_row
from changeover.serving.eviction import NoRoom, Unload
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ready_within_s
from changeover.serving.queries import find_deployment, has_deployment

MARGIN_S = 5.0
"""For looking, and for ending a process."""


def needs_exchange(installation: Installation, task: str, candidate: str) -> bool:
    """Whether a candidate fits only in place of a task's incumbent. One that runs already needs none.

    Args:
        installation: The project.
        task: To be switched.
        candidate: A deployment, or a card whose weights are here.

    Raises:
        EngineError: It would not fit there either; says what could be stopped.
        GateError: The incumbent's engine answers other tasks too, or holds adapters; or the task has no route.
    """
    plan = candidate_plan(installation, candidate)
    with installation.store.read() as connection:
        known = has_deployment(connection, plan.deployment)
        if known and find_deployment(connection, plan.deployment).desired == "running":
            return False
        room = room_for(installation, connection, plan)
        if isinstance(room, Unload):
            return False
        incumbent = incumbent_of(connection, task).deployment
        if isinstance(room_for(installation, connection, plan, without=incumbent), NoRoom):
            check_room(installation, connection, plan)
        check_holds_none(connection, incumbent)
        others = tasks_on(connection, incumbent, beside=task)
        if others:
            raise GateError(
                f"`{candidate}` {room.fit}, and `{incumbent}` answers {', '.join(f'`{name}`' for name in others)} besides "
                f"`{task}`, so that it cannot be exchanged. Switch the others to another deployment first."
            )
        return True


def candidate_plan(installation: Installation, candidate: str) -> EnginePlan:
    """How a candidate runs, or would.

    Raises:
        UnknownModelError: There is no deployment and no card of that name.
    """
    with installation.store.read() as connection:
        if has_deployment(connection, candidate):
            row = find_deployment(connection, candidate)
            return plan_from_row(row, installation.catalogue, installation.project.cache)
    return first_plan(installation, candidate)


def keep_candidate(installation: Installation, candidate: str, actor: str) -> None:
    """Know a candidate as a deployment that shall not run yet, unless it is known: its variant can be written then."""
    with installation.store.read() as connection:
        if has_deployment(connection, candidate):
            return
    plan = candidate_plan(installation, candidate)
    engine = engine_of(installation, plan)
    with installation.store.write() as connection:
        if not has_deployment(connection, plan.deployment):
            ask_for(connection, plan, engine, actor, installation.clock.now(), desired="stopped")


def exchange_plan_of(installation: Installation, task: str, candidate: str) -> Plan:
    """The plan of a rollout that exchanges engines.

    The candidate has to answer within the time in which the last requests to the incumbent end, and that in which an engine
    of its size becomes ready.
    """
    declared = installation.tasks[task].declared
    plan = candidate_plan(installation, candidate)
    load_s = ready_within_s(plan, installation.backends, installation.project.settings.engines.ready_s)
    return exchange_plan(plan_of(declared), declared.timeout_s + load_s + MARGIN_S)


def known_evidence(installation: Installation, match: Match) -> Comparison:
    """The finished comparison of a match: it cannot be made while the candidate does not run.

    Raises:
        GateError: There is none; says how to get it.
    """
    known = known_verdict(installation, match)
    if known is not None:
        return known
    task, old, new = match.task.name, match.incumbent.deployment, match.candidate.deployment
    raise GateError(
        f"No evidence yet that `{new}` may answer `{task}`, and memory does not hold it beside `{old}`. Measure in a quiet "
        f"hour, in which `{task}` answers nobody: `changeover eval {task}`, then `changeover deploy {new} --instead-of {old}`, "
        f"`changeover compare {task} --candidate {new}` and `changeover deploy {old} --instead-of {new}`."
    )

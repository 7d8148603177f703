"""Asking for deployments, the variant that a task's files make of one, and the one that answers it now.

Commands start from here as `up` does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from changeover.app.adapting import ADAPTER, check_base_runs, check_holds_none, engine_of
from changeover.app.installation import ECHO, Installation, own_echo
from changeover.app.licence_checks import check, judge_somewhere, licensing_of
from changeover.app.room import check_room
from changeover.app.tunings import tuned_options, tunings_here
from changeover.core.errors import GateError
from changeover.rollouts.queries import active_rollouts
from changeover.serving.bundles import EnginePart
from changeover.serving.deployments import plan_for_card, plan_from_row
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import add_deployment, exchange, find_deployment, has_deployment, load_variants, want
from changeover.serving.variants import Variant
from changeover.store.audit import note
from changeover.tasks.declarations import Task
from changeover.tasks.queries import current_route, current_routes


def deploy(installation: Installation, plan: EnginePlan, actor: str, *, instead_of: str | None = None) -> bool:
    """Ask for a deployment; False if it is there already and only has to run.

    Args:
        installation: The project.
        plan: How it runs.
        actor: Who asks.
        instead_of: A deployment that is stopped for it, whoever needs that.

    Raises:
        EngineError: Memory does not hold it beside what runs; says what could be stopped. Or it is an adapter, and what it
            stands on does not run.
        GateError: Adapters stand on what it would take the place of.
        LicenceError: The policy or its licence does not allow it here; names the clause.
        UnknownModelError: There is no deployment that it could take the place of.
    """
    engine = engine_of(installation, plan)
    check(judge_somewhere(licensing_of(installation), engine))
    now = installation.clock.now()
    with installation.store.write() as connection:
        check_base_runs(connection, plan)
        if instead_of is not None:
            find_deployment(connection, instead_of)
            check_holds_none(connection, instead_of)
        check_room(installation, connection, plan, without=instead_of)
        fresh = ask_for(connection, plan, engine, actor, now)
        _note(connection, "deploy", plan.deployment, actor, now, model=plan.model, backend=plan.backend)
        if instead_of is not None:
            _note(connection, "undeploy", instead_of, actor, now, instead=plan.deployment)
            exchange(connection, stop=instead_of, start=plan.deployment, now=now)
        return fresh


def run_again(installation: Installation, name: str, actor: str) -> None:
    """Ask for a deployment that is known to run; for an adapter's base too.

    Raises:
        EngineError: Memory does not hold it beside what runs; says what could be stopped.
        LicenceError: The policy or its licence does not allow it here; names the clause.
    """
    with installation.store.write() as connection:
        row = find_deployment(connection, name)
        check(judge_somewhere(licensing_of(installation), EnginePart.from_document(row.engine)))
        check_room(installation, connection, plan_from_row(row, installation.catalogue, installation.project.cache))
        now = installation.clock.now()
        if row.backend == ADAPTER:
            want(connection, str(row.options["base"]), "running", now)
        want(connection, name, "running", now)
        if row.desired != "running":
            _note(connection, "deploy", name, actor, now, model=row.model, backend=row.backend)


def stop(connection: Connection, name: str, actor: str, now: datetime) -> None:
    """Have a deployment stop as soon as nobody waits for it.

    Raises:
        GateError: It may have to answer a task, or adapters stand on it.
        UnknownModelError: There is none of that name.
    """
    find_deployment(connection, name)
    baking = {rollout.task for rollout in active_rollouts(connection) if rollout.state == "baking"}
    for task, route in current_routes(connection).items():
        # In the bake time the guard may bring the former incumbent back at any moment.
        needed = (route.incumbent, route.candidate, route.former if task in baking else None)
        variants = load_variants(connection, [id for id in needed if id is not None])
        if any(variant.deployment == name for variant in variants.values()):
            raise GateError(f"`{name}` may have to answer `{task}`: see `changeover status {task}`. Switch that first.")
    check_holds_none(connection, name)
    want(connection, name, "stopped", now)
    _note(connection, "undeploy", name, actor, now)


def _note(connection: Connection, action: str, name: str, actor: str, now: datetime, **detail: str) -> None:
    note(connection, at=now, actor=actor, action=action, subject=f"deployment {name}", detail=detail)


def ask_for(
    connection: Connection,
    plan: EnginePlan,
    engine: EnginePart,
    actor: str,
    now: datetime,
    *,
    desired: Literal["running", "stopped"] = "running",
) -> bool:
    """As `deploy`, in a transaction that has more to do."""
    if has_deployment(connection, plan.deployment):
        want(connection, plan.deployment, desired, now)
        return False
    add_deployment(
        connection,
        name=plan.deployment,
        backend=plan.backend,
        model=plan.model,
        options=plan.options,
        engine=engine.document(),
        actor=actor,
        now=now,
        desired=desired,
    )
    return True


def first_plan(installation: Installation, model: str) -> EnginePlan:
    """How a model runs that is only named: a card on the embedded engine with the project's defaults, or `echo`."""
    if model == ECHO:
        return EnginePlan(deployment=ECHO, backend="echo", model=ECHO)
    project = installation.project
    with installation.store.read() as connection:
        tuned = tuned_options(tunings_here(installation, connection), model, "local")
    return plan_for_card(installation.catalogue.card(model), project.cache, project.settings.engines, options=tuned)


def first_plan_of(installation: Installation, task: Task) -> EnginePlan:
    """How a task's first incumbent runs. An echo engine with options of the task's own is that task's alone."""
    if task.declared.echo:
        name = own_echo(task.name)
        return EnginePlan(deployment=name, backend="echo", model=name, options=task.declared.echo)
    return first_plan(installation, task.declared.first_incumbent)


def declared_variant(installation: Installation, task: str, deployment: str) -> Variant:
    """The variant that a task's files describe today, on a deployment; not yet written."""
    with installation.store.read() as connection:
        row = find_deployment(connection, deployment)
    return Variant.declared(installation.tasks[task], deployment, EnginePart.from_document(row.engine))


def incumbent_of(connection: Connection, task: str) -> Variant:
    """Who answers a task now.

    Raises:
        GateError: Nobody yet.
    """
    route = current_route(connection, task)
    if route is None:
        raise GateError(f"`{task}` has no route yet. Start the project once with `changeover up`.")
    return load_variants(connection, [route.incumbent])[route.incumbent]

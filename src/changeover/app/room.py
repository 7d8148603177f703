"""Room in memory: whether one more engine fits beside what runs, and what could make room for it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.core.errors import ChangeoverError, EngineError
from changeover.serving.deployments import plan_from_row
from changeover.serving.eviction import NoRoom, Tenant, Unload, make_room
from changeover.serving.memory import Fit, Held, budget_bytes, needed_bytes
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment, all_deployments, load_variants, needs
from changeover.tasks.queries import current_routes


def room_for(
    installation: Installation, connection: Connection, plan: EnginePlan, *, without: str | None = None
) -> Unload | NoRoom:
    """Who would be unloaded so that a deployment has room beside all that shall run, by the decision that the fleet makes.

    What a route needs keeps its room while it is unloaded: it is to be loaded again at any moment.

    Args:
        installation: Says what the budget is.
        connection: To read what shall run.
        plan: The deployment's.
        without: A deployment that is left out, as if it were stopped.
    """
    rows = all_deployments(connection)
    measured = next((row.memory_bytes for row in rows if row.name == plan.deployment), None)
    held = [each for each in running(installation, connection, rows) if each.name != without]
    candidate = Held(name=plan.deployment, bytes=needed_bytes(plan, measured))
    return make_room(budget_bytes(installation.project.settings.engines.memory_gib), held, candidate)


def check_room(
    installation: Installation, connection: Connection, plan: EnginePlan, *, without: str | None = None
) -> None:
    """Refuse a deployment that does not fit, rather than let the machine swap. One that runs already is never refused.

    Raises:
        EngineError: Says what it needs and what could be stopped for it.
    """
    rows = all_deployments(connection)
    if any(row.name == plan.deployment and row.desired == "running" for row in rows):
        return
    decision = room_for(installation, connection, plan, without=without)
    if isinstance(decision, NoRoom):
        fit = decision.fit
        named = {*(row.name for row in rows), *(card.id for card in installation.catalogue.cards())}
        advice = _advice(connection, fit, running(installation, connection, rows), known=fit.name in named)
        raise EngineError(f"`{fit.name}` {fit}. {advice}")


def running(installation: Installation, connection: Connection, rows: Sequence[Deployment]) -> list[Tenant]:
    """What shall run and needs memory here, the largest first. What is under way there now only the fleet knows."""
    named = needs(connection)
    tenants = [
        Tenant(
            name=row.name,
            bytes=_needs(installation, row),
            need=named.get(row.name, "none"),
            idle=row.state == "idle",
            pinned=row.options.get("idle_unload_s") == 0,
        )
        for row in rows
        if row.desired == "running"
    ]
    return sorted((each for each in tenants if each.bytes), key=lambda each: -each.bytes)


def _needs(installation: Installation, row: Deployment) -> int:
    try:
        plan = plan_from_row(row, installation.catalogue, installation.project.cache)
    except ChangeoverError:  # its card is gone; the fleet says so in its row
        return row.memory_bytes or 0
    return needed_bytes(plan, row.memory_bytes)


def _advice(connection: Connection, fit: Fit, held: Sequence[Tenant], *, known: bool) -> str:
    """What could be stopped: what no route names first, then who waits to be brought back, else whom a task needs.

    What would be unloaded by itself is not named: that would not be enough.

    Args:
        connection: To read routes.
        fit: What does not fit.
        held: What runs, the largest first.
        known: It has a deployment or a card, so that a task can be switched to it by its name.
    """
    if fit.needs > fit.budget:
        return "It would not fit alone: raise `engines.memory_gib`, or give it less context (`--context`, `--slots`)."
    routes = current_routes(connection)
    variants = load_variants(connection, {id for route in routes.values() for id in route.variants()})
    answers = {
        variants[id].deployment: route.task
        for route in routes.values()
        for id in (route.candidate, route.incumbent)
        if id is not None
    }
    formers = {variants[route.former].deployment for route in routes.values() if route.former is not None}
    held = [each for each in held if not each.may_go] or held
    free = [each.name for each in held if each.name not in answers and each.name not in formers]
    if free:
        return f"No route names {_listed(free)}: `changeover undeploy {free[0]}`, then ask again."
    back = [each.name for each in held if each.name not in answers]
    if back:
        return f"{_listed(back)} only waits to be brought back: `changeover undeploy {back[0]}`, then ask again."
    busy = held[0].name
    if not known:
        return (
            f"All that runs answers a task. Ask again with `--instead-of {busy}`, which leaves `{answers[busy]}` "
            "without an engine: docs, concepts, memory."
        )
    return (
        f"All that runs answers a task. `changeover switch {answers[busy]} --to {fit.name}` exchanges the engines; "
        f"`changeover deploy {fit.name} --instead-of {busy}` leaves `{answers[busy]}` without one."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

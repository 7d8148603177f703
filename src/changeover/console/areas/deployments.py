"""Deployments: what runs, in how much memory, and what it says in its log."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.at_work import card_of
from changeover.app.deploy import deploy, run_again, stop
from changeover.app.engine_words import engine_of
from changeover.app.installation import Installation
from changeover.app.planning import DeployPlan, Wish, engine_named, ground_of, plan_deployment
from changeover.app.planning.answer import Lack
from changeover.app.planning.words import rows_of, verdict_of
from changeover.app.tunings import threads_of, tunings_here
from changeover.console.following import following
from changeover.console.routes import Page
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, EngineError, UnknownModelError, nearest
from changeover.rollouts.actions import By
from changeover.serving.backends import BACKENDS
from changeover.serving.engine_log import last_lines
from changeover.serving.memory import budget_bytes
from changeover.serving.progress import Progress as Start
from changeover.serving.queries import Deployment, all_deployments, find_deployment, needs, tasks_by_deployment

LINES = 200
"""Of a log that are shown."""
TONES: Mapping[str, str] = {
    "ready": "good",
    "idle": "",
    "failed": "bad",
    "restarting": "warm",
    "starting": "busy",
    "waiting": "busy",
    "stopped": "",
}
PASSING = ("key", "fact", "room")
"""What a plan may lack and be begun all the same: another process sees the key, nobody knows the fact, and room is
counted exactly once it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A deployment in the list, and on its page."""

    deployment: Deployment
    engine: str
    state: str
    """As it is now: `stopped` where nothing runs."""
    tone: str
    detail: str
    need: str
    """What its foremost route or rollout names it as; empty: nobody needs it."""
    tasks: Sequence[str]
    """Those that it answers, or may have to, of those that whoever looks may see."""
    others: bool
    """Whether it answers, or may have to, a task that they do not see."""
    memory_share: float | None
    """Of what engines may use, 0 to 1; None where it holds none now."""
    threads: str | None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of all engines together."""

    used: int
    budget: int | None

    @property
    def share(self) -> float:
        return 0.0 if not self.budget else self.used / self.budget


async def deployments(visit: Visit) -> Response:
    """What runs and what could."""
    return await _listed(visit, "deployments/deployments.html")


async def part(visit: Visit) -> Response:
    """The list, as it changes."""
    return await _listed(visit, "deployments/list.html")


async def _listed(visit: Visit, template: str) -> Response:
    installation, running = visit.installation, _runs(visit)
    rows = await visit.read(partial(_rows, visit, running))
    memory = memory_of(installation, rows)
    failed = sum(row.state == "failed" for row in rows)
    return visit.page(template, rows=rows, memory=memory, running=running, failed=failed)


def _runs(visit: Visit) -> bool:
    return visit.desk is not None and visit.desk.gateway() is not None


def _rows(visit: Visit, running: bool, connection: Connection) -> list[Row]:
    installation = visit.installation
    tunings, needed = tunings_here(installation, connection), needs(connection)
    tasks = tasks_by_deployment(connection)
    budget = budget_bytes(installation.project.settings.engines.memory_gib)
    rows: list[Row] = []
    for each in all_deployments(connection):
        if not visit.sees(each.name):
            continue
        own = [task for task in tasks.get(each.name, ()) if visit.person.may_see(task)]
        state = each.state if running else "stopped"
        start = Start.read(each.detail)
        holds = running and each.pid is not None and each.memory_bytes is not None and bool(budget)
        rows.append(
            Row(
                deployment=each,
                engine=engine_of(each),
                state=state,
                tone=TONES.get(state, ""),
                detail=visit.discreet(str(start) if start else each.detail),
                need=needed.get(each.name, ""),
                tasks=own,
                others=len(own) < len(tasks.get(each.name, ())),
                memory_share=(each.memory_bytes or 0) / budget if holds else None,
                threads=threads_of(each, tunings),
            )
        )
    return rows


def memory_of(installation: Installation, rows: Sequence[Row]) -> Memory:
    """What all engines hold of what they may."""
    used = sum(row.deployment.memory_bytes or 0 for row in rows if row.memory_share is not None)
    return Memory(used=used, budget=budget_bytes(installation.project.settings.engines.memory_gib))


async def events(visit: Visit) -> Response:
    """That a deployment changed."""

    def look(connection: Connection) -> Hashable:
        return tuple(
            (row.name, row.state, row.desired, row.detail, row.restarts)
            for row in all_deployments(connection)
            if visit.sees(row.name)
        )

    async def seen() -> Hashable:
        return await visit.read(look), _runs(visit)

    return await following(seen)


async def deployment(visit: Visit) -> Response:
    """One deployment with its log."""
    return await _shown(visit, "deployments/deployment.html")


async def one_part(visit: Visit) -> Response:
    """What changes of it."""
    return await _shown(visit, "deployments/one.html")


async def _shown(visit: Visit, template: str, status: int = 200, error: str | None = None) -> Response:
    name, installation, running = visit.parameter("name"), visit.installation, _runs(visit)

    def look(connection: Connection) -> Row:
        found = _found(visit, connection, name)
        return next(row for row in _rows(visit, running, connection) if row.deployment.name == found.name)

    row = await visit.read(look)
    shown = not row.others
    lines = await visit.do(lambda: last_lines(_log(visit, row.deployment.name), LINES)) if shown else []
    return visit.page(
        template,
        status,
        row=row,
        card=card_of(installation.catalogue, row.deployment),
        deployment=row.deployment,
        memory=memory_of(installation, [row]),
        log="\n".join(lines),
        log_shown=shown,
        running=running,
        error=error,
    )


def _found(visit: Visit, connection: Connection, name: str) -> Deployment:
    """A deployment that they see.

    Raises:
        UnknownModelError: There is none of that name, for them.
    """
    if visit.sees(name):
        return find_deployment(connection, name)
    known = [row.name for row in all_deployments(connection) if visit.sees(row.name)]
    raise UnknownModelError(f"No deployment named `{name[:80]}`. {nearest(name[:80], known)}")


def _log(visit: Visit, name: str) -> Path:
    return visit.installation.project.state / "logs" / f"{name}.log"


async def one_events(visit: Visit) -> Response:
    """That it, or its log, changed."""
    name = visit.parameter("name")

    async def seen() -> Hashable:
        row = await visit.read(lambda connection: _found(visit, connection, name))
        file = _log(visit, row.name)
        size = await visit.do(lambda: file.stat().st_size if file.is_file() else 0)
        return row.state, row.desired, row.detail, row.restarts, size, _runs(visit)

    await seen()
    return await following(seen)


async def start(visit: Visit) -> Response:
    """Have it run again."""
    name = visit.parameter("name")
    by = await _by(visit)
    try:
        await visit.do(partial(run_again, visit.installation, name, by.actor))
    except ChangeoverError as failure:
        return await _shown(visit, "deployments/deployment.html", failure.status, failure.message)
    visit.tell("{} starts.", name)
    return visit.go(f"/deployments/{name}")


async def stop_it(visit: Visit) -> Response:
    """Have it stop as soon as nobody waits for it."""
    name = visit.parameter("name")
    by = await _by(visit)
    store = visit.store

    def work() -> None:
        with store.write() as connection:
            stop(connection, name, by.actor, by.now)

    try:
        await visit.do(work)
    except ChangeoverError as failure:
        return await _shown(visit, "deployments/deployment.html", failure.status, failure.message)
    visit.tell("{} stops once it is idle.", name)
    return visit.go(f"/deployments/{name}")


async def _by(visit: Visit) -> By:
    async with visit.form() as form:
        return visit.by(text_of(form, "reason") or "in the console")


async def plan(visit: Visit) -> Response:
    """How a model would run here or elsewhere; nothing is started."""
    return await _planned(visit, visit.query("model"), visit.query("engine"), visit.query("on"))


async def begin(visit: Visit) -> Response:
    """Start what was planned, where its weights are here already."""
    async with visit.form() as form:
        model, engine = text_of(form, "model"), text_of(form, "engine")
    installation, actor = visit.installation, visit.person.actor

    def work() -> str:
        made = plan_deployment(_wish(model, engine, ""), ground_of(installation))
        if made.engine_plan is None or not can_begin(made):
            raise EngineError(f"`{model}` cannot be started from here: see what is missing.")
        deploy(installation, made.engine_plan, actor)
        return made.deployment

    try:
        name = await visit.do(work)
    except ChangeoverError as failure:
        return await _planned(visit, model, engine, "", failure.status, failure.message)
    visit.tell("{} starts.", name)
    return visit.go(f"/deployments/{name}")


async def _planned(
    visit: Visit, model: str, engine: str, on: str, status: int = 200, error: str | None = None
) -> Response:
    installation = visit.installation
    made: DeployPlan | None = None
    if model:
        try:
            made = await visit.do(lambda: plan_deployment(_wish(model, engine, on), ground_of(installation)))
        except ChangeoverError as failure:
            status, error = (failure.status if failure.status < 500 else 400), failure.message
    return visit.page(
        "deployments/plan.html",
        status,
        model=model,
        engine=engine,
        on=on,
        engines=sorted(BACKENDS),
        models=[card.id for card in installation.catalogue.cards()],
        plan=made,
        verdict=None if made is None else verdict_of(made),
        rows=[] if made is None else [(name, visit.discreet(words)) for name, words in rows_of(made)],
        missing=[] if made is None else [_told(visit, each) for each in made.missing],
        can_begin=made is not None and can_begin(made),
        error=error,
    )


def _told(visit: Visit, lack: Lack) -> Lack:
    return replace(lack, what=visit.discreet(lack.what), remedy=visit.discreet(lack.remedy))


def _wish(model: str, engine: str, on: str) -> Wish:
    return Wish(model=model, engine=engine_named(engine) if engine else None, on=on or None)


def can_begin(plan: DeployPlan) -> bool:
    """Whether it can be started from a page: everything that it takes is on this machine."""
    lacks = [each for each in plan.missing if each.kind not in PASSING]
    return plan.engine_plan is not None and not lacks and (plan.weights is None or plan.weights.here)


PAGES: tuple[Page, ...] = (
    Page(path="/deployments", endpoint=deployments, right="look"),
    Page(path="/deployments/part", endpoint=part, right="look"),
    Page(path="/deployments/events", endpoint=events, right="look"),
    Page(path="/deployments/plan", endpoint=plan, right="look"),
    Page(path="/deployments/plan", endpoint=begin, right="operate", whole=True, methods=("POST",)),
    Page(path="/deployments/{name}", endpoint=deployment, right="look"),
    Page(path="/deployments/{name}/part", endpoint=one_part, right="look"),
    Page(path="/deployments/{name}/events", endpoint=one_events, right="look"),
    Page(path="/deployments/{name}/start", endpoint=start, right="operate", whole=True, methods=("POST",)),
    Page(path="/deployments/{name}/stop", endpoint=stop_it, right="operate", whole=True, methods=("POST",)),
)

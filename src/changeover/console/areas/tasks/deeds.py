"""What people do with a task: begin a switch, and take one back."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from changeover.app import steering
from changeover.app.bench import Wanted
from changeover.app.fetching import is_here
from changeover.app.installation import Installation
from changeover.app.readiness import card_to_fetch
from changeover.app.steering import Seen
from changeover.app.switching import begin_switch
from changeover.console.areas.measuring import NOT_RUNNING, begin_here
from changeover.console.areas.tasks.about import About, about, shown
from changeover.console.areas.tasks.details import history_page
from changeover.console.choices import Choice, check_choice, choices_for
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, NotReadyError


async def choose(visit: Visit) -> Response:
    """Ask who shall take over."""
    return await _form(visit, await about(visit), to=visit.query("to"), reason="")


async def _form(
    visit: Visit, task: About, *, to: str, reason: str, error: str | None = None, status: int = 200
) -> Response:
    choices = await visit.do(lambda: _choices(visit, task, to))
    return shown(visit, task, "switch", status=status, choices=choices, to=to, reason=reason, error=error)


def _choices(visit: Visit, task: About, named: str) -> list[Choice]:
    incumbent = task.standing.route.incumbent
    return choices_for(visit, task=task.declared, incumbent=incumbent, named=named)


async def switch(visit: Visit) -> Response:
    """Begin what `changeover switch --detach` begins; weights that are not here are fetched before, meanwhile one can leave."""
    task = await about(visit)
    async with visit.form() as form:
        to, reason = text_of(form, "to"), text_of(form, "reason")
    try:
        if not task.running:
            raise NotReadyError(NOT_RUNNING)
        by = visit.by(reason)
        await visit.do(lambda: check_choice(visit, to))
        if await visit.do(lambda: _is_to_be_fetched(visit.installation, to)):
            await begin_here(visit, Wanted(kind="switch", candidate=to, tasks=(task.name,)), by)
            visit.tell("The weights of `{}` are fetched; then the switch begins.", to)
            return visit.go("/measuring")
        rollout = await visit.do(lambda: begin_switch(visit.installation, task.name, to, by))
    except ChangeoverError as exc:
        return await _form(visit, task, to=to, reason=reason, error=exc.message, status=exc.status)
    visit.tell("Rollout {} began: `{}` to `{}`.", rollout.id, task.name, to)
    return visit.go(f"/rollouts/{rollout.id}")


def _is_to_be_fetched(installation: Installation, to: str) -> bool:
    card = card_to_fetch(installation, to)
    return card is not None and not is_here(card, installation.project.cache)


async def rollback(visit: Visit) -> Response:
    """Bring back who answered before, as `changeover rollback` does."""
    task = await about(visit)
    async with visit.form() as form:
        reason, revision = text_of(form, "reason"), text_of(form, "revision")
    store = visit.installation.store
    seen = Seen(revision=int(revision) if revision.isdecimal() and len(revision) <= 12 else None)
    here = f"/tasks/{quote(task.name, safe='')}/history"
    try:
        by = visit.by(reason)
        if task.running:
            await visit.do(lambda: steering.start_former(store, task.name, by, seen))
        route = await visit.do(lambda: steering.rollback(store, task.name, by, seen))
    except ChangeoverError as exc:
        return await history_page(visit, task, error=exc.message, status=exc.status)
    visit.tell("`{}` was rolled back: revision {}.", task.name, route.revision)
    return visit.go(here)

"""What people do with a task: begin a switch, and take one back."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app import steering
from changeover.app.at_work import card_of
from changeover.app.licence_checks import judge_engine, licensing_of
from changeover.app.switching import begin_switch
from changeover.console.areas.tasks.about import About, about, shown
from changeover.console.areas.tasks.details import history_page
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, NotReadyError
from changeover.library.licences.words import refusal
from changeover.serving.parts import EnginePart
from changeover.serving.queries import Deployment, all_deployments
from changeover.serving.variants import Variant

NOT_RUNNING = "The gateway does not run, so that nothing could be measured. Start it: `changeover up`."


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A deployment that could take over."""

    deployment: Deployment
    card: str | None
    """Of the library."""
    answers: bool
    """It answers already, with the prompt and the parameters that the files say."""
    denied: str | None
    """Why it may not."""


async def choose(visit: Visit) -> Response:
    """Ask who shall take over."""
    return await _form(visit, await about(visit), to=visit.query("to"), reason="")


async def _form(
    visit: Visit, task: About, *, to: str, reason: str, error: str | None = None, status: int = 200
) -> Response:
    choices = await visit.do(lambda: choices_for(visit, task))
    return shown(visit, task, "switch", status=status, choices=choices, to=to, reason=reason, error=error)


def choices_for(visit: Visit, task: About) -> list[Choice]:
    """Every deployment, those first that may and do run."""
    installation, declared = visit.installation, task.declared
    licensing = licensing_of(installation)

    def look(connection: Connection) -> list[Deployment]:
        return all_deployments(connection)

    with installation.store.read() as connection:
        rows = look(connection)
    found: list[Choice] = []
    for row in rows:
        if not visit.sees(row.name):
            continue
        engine = EnginePart.from_document(row.engine)
        judged = judge_engine(licensing, engine, task.name)
        variant = None if declared is None else Variant.declared(declared, row.name, engine)
        card = card_of(installation.catalogue, row)
        found.append(
            Choice(
                deployment=row,
                card=None if card is None else card.id,
                answers=variant is not None and variant.id == task.standing.route.incumbent,
                denied=None if judged is None or judged.allowed else refusal(judged),
            )
        )
    return sorted(
        found,
        key=lambda each: (
            each.answers or each.denied is not None,
            each.deployment.desired != "running",
            each.deployment.name,
        ),
    )


async def switch(visit: Visit) -> Response:
    """Begin what `changeover switch --detach` begins."""
    task = await about(visit)
    async with visit.form() as form:
        to, reason = text_of(form, "to"), text_of(form, "reason")
    try:
        if not task.running:
            raise NotReadyError(NOT_RUNNING)
        by = visit.by(reason)
        rollout = await visit.do(lambda: begin_switch(visit.installation, task.name, to, by))
    except ChangeoverError as exc:
        return await _form(visit, task, to=to, reason=reason, error=exc.message, status=exc.status)
    visit.tell("Rollout {} began: `{}` to `{}`.", rollout.id, task.name, to)
    return visit.go(f"/rollouts/{rollout.id}")


async def rollback(visit: Visit) -> Response:
    """Bring back who answered before, as `changeover rollback` does."""
    task = await about(visit)
    async with visit.form() as form:
        reason = text_of(form, "reason")
    store = visit.installation.store
    here = f"/tasks/{quote(task.name, safe='')}/history"
    try:
        by = visit.by(reason)
        if task.running:
            await visit.do(lambda: steering.start_former(store, task.name, by))
        route = await visit.do(lambda: steering.rollback(store, task.name, by))
    except ChangeoverError as exc:
        return await history_page(visit, task, error=exc.message, status=exc.status)
    visit.tell("`{}` was rolled back: revision {}.", task.name, route.revision)
    return visit.go(here)

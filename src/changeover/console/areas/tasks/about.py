"""What every page of one task begins with: how it stands, what is declared of it, and what may be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import HTMLResponse

from changeover.app.standing import Standing, standings
from changeover.console.areas.tasks.lines import Need, needs_of
from changeover.console.visit import Visit
from changeover.core.errors import UnknownTaskError, nearest
from changeover.tasks.declarations import Task

TABS = ("", "history", "variants", "results", "dataset", "exchanges", "contract")


@dataclass(frozen=True, kw_only=True)
class About:
    """One task, for the head of its pages."""

    standing: Standing
    declared: Task | None
    """As the files say; None: they do not hold it, or it is broken."""
    needs: tuple[Need, ...]
    running: bool
    """Whether the gateway is."""
    may_operate: bool

    @property
    def name(self) -> str:
        return self.standing.task

    @property
    def description(self) -> str:
        return "" if self.declared is None else self.declared.declared.description


async def about(visit: Visit) -> About:
    """The task of the address.

    Raises:
        PermissionError_: It is none of theirs.
        UnknownTaskError: There is none.
    """
    name = visit.parameter("task")
    visit.require_task(name)
    installation, desk = visit.installation, visit.desk
    assert desk is not None, "there is a project"
    found = await visit.do(lambda: standings(installation, name))
    if name not in found:
        known = [each for each in installation.tasks if visit.person.may_see(each)]
        more = " It is declared, and answers once it was applied: `changeover apply`." if name in known else ""
        raise UnknownTaskError(f"No task named `{name[:80]}` has a route.{more or ' ' + nearest(name, known)}")
    return About(
        standing=found[name],
        declared=installation.tasks.get(name),
        needs=needs_of(found[name]),
        running=desk.gateway() is not None,
        may_operate=visit.person.may("operate"),
    )


def shown(visit: Visit, about: About, tab: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """One of a task's pages."""
    template = f"tasks/{tab or 'overview'}.html"
    return visit.page(template, status, about=about, standing=about.standing, tab=tab, tabs=TABS, **values)

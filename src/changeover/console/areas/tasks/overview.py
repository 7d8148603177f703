"""The page of all tasks."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.responses import Response

from changeover.app.standing import standings
from changeover.console import charts
from changeover.console.areas.tasks.lines import (
    ORDERS,
    Line,
    Need,
    Traffic,
    Whole,
    chosen,
    measured,
    needs_of,
    ordered,
    traffic_of,
    whole_of,
    worst_first,
)
from changeover.console.following import following
from changeover.console.languages import translated
from changeover.console.visit import Visit
from changeover.gateway.queries import look as gateway_look
from changeover.rollouts.queries import active_rollouts, open_overrides
from changeover.serving.queries import all_deployments
from changeover.tasks.queries import current_routes

PER_PAGE = 50
MOST_NEEDS = 6
"""That are shown before one asks for the rest."""
NOT_USED = "The declarations are not used as their files say. Whoever may see every task is told why."
"""To whoever may not: what is wrong may be of others."""
STATES = ("", "needs", "under-way", "failing", "removed")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the address says of the table."""

    words: str
    state: str
    sort: str
    page: int

    @classmethod
    def of(cls, visit: Visit) -> Asked:
        state, sort = visit.query("state"), visit.query("sort", "needs")
        return cls(
            words=visit.query("q")[:200],
            state=state if state in STATES else "",
            sort=sort if sort in ORDERS else "needs",
            page=max(visit.number("page") or 1, 1),
        )

    def link(self, **changed: str | int) -> str:
        """The address of the same table, otherwise sorted or another page of it."""
        said = {"q": self.words, "state": self.state, "sort": self.sort, "page": self.page} | changed
        if set(changed) - {"page"}:
            said["page"] = 1
        usual = {"q": "", "state": "", "sort": "needs", "page": 1}
        query = urlencode({name: value for name, value in said.items() if value != usual[name]})
        return f"/tasks?{query}" if query else "/tasks"


@dataclass(frozen=True, kw_only=True)
class Table:
    """The page's part that is about tasks."""

    whole: Whole
    needs: list[Need]
    lines: list[Line]
    """Of this page."""
    found: int
    """Of all pages."""
    removed: int
    waiting: list[str]
    """Tasks that the files hold and that were not applied yet."""


async def tasks(visit: Visit) -> Response:
    """Every task at a glance."""
    asked = Asked.of(visit)
    desk = visit.desk
    assert desk is not None, "there is a project"
    running = desk.gateway() is not None
    table = await visit.do(lambda: _table(visit, asked, running=running))
    problems = [problem.message for problem in visit.theirs.problems]
    if desk.problem is not None and desk.problem not in [each.message for each in visit.installation.problems]:
        problems.append(desk.problem if visit.person.tasks is None else translated(visit.language, NOT_USED))
    return visit.page(
        "tasks/tasks.html",
        asked=asked,
        states=STATES,
        table=table,
        running=running,
        problems=problems,
        most_needs=MOST_NEEDS,
        spark=charts.spark,
        pages=-(-table.found // PER_PAGE),
    )


def _table(visit: Visit, asked: Asked, *, running: bool) -> Table:
    installation = visit.installation
    now = installation.clock.now()
    there = standings(installation)
    mine = [each for each in there.values() if visit.person.may_see(each.task)]
    descriptions = {name: task.declared.description for name, task in installation.tasks.items()}
    with installation.store.read() as connection:
        traffic = traffic_of(connection, now)
        lines = [
            Line(
                standing=each,
                description=descriptions.get(each.task, ""),
                traffic=traffic.get(each.task, Traffic()),
                needs=needs_of(each),
                running=running,
            )
            for each in mine
        ]
        found = ordered(chosen(lines, asked.words, asked.state), asked.sort)
        shown = found[(asked.page - 1) * PER_PAGE : asked.page * PER_PAGE]
        return Table(
            whole=whole_of(connection, lines),
            needs=worst_first(need for line in lines for need in line.needs),
            lines=measured(connection, shown, now),
            found=len(found),
            removed=sum(line.standing.removed for line in lines),
            waiting=sorted(name for name in installation.tasks if name not in there and visit.person.may_see(name)),
        )


async def events(visit: Visit) -> Response:
    """Says whenever somebody else answers, something is under way or waits, or an engine comes or goes; traffic does not."""
    desk = visit.desk
    assert desk is not None, "there is a project"

    def look(connection: Connection) -> Hashable:
        seen = gateway_look(connection)
        sees, routes = visit.person.may_see, current_routes(connection).values()
        rollouts = [
            (each.id, each.state, each.step, each.hold) for each in active_rollouts(connection) if sees(each.task)
        ]
        engines = [(row.name, row.desired, row.state) for row in all_deployments(connection) if visit.sees(row.name)]
        waiting = [each.id for each in open_overrides(connection) if sees(each.task)]
        revision = max((route.revision for route in routes if sees(route.task)), default=0)
        return revision, seen.applied, desk.gateway(), desk.problem, *rollouts, *engines, *waiting

    return await following(lambda: visit.read(look))

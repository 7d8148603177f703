"""Tasks: who answers each, how well, and what needs a person."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.responses import Response

from changeover.console.routes import Page
from changeover.console.visit import Visit
from changeover.serving.queries import load_variants
from changeover.tasks.queries import current_routes


async def tasks(visit: Visit) -> Response:
    """Every task at a glance."""

    def look(connection: Connection) -> list[tuple[str, str, str | None]]:
        routes = [route for name, route in current_routes(connection).items() if visit.person.may_see(name)]
        variants = load_variants(connection, {id for route in routes for id in route.variants()})
        names = {id: variant.deployment for id, variant in variants.items()}
        return [(each.task, names[each.incumbent], names.get(each.candidate or "")) for each in routes]

    return visit.page("tasks/tasks.html", rows=await visit.read(look))


PAGES = (Page(path="/tasks", endpoint=tasks, right="look"),)

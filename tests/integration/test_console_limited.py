"""Somebody who may see some tasks only finds nothing of the others on the pages that speak of all."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
from tests.support.console import BusyConsole

from changeover.gateway.keys import issue_key
from changeover.serving.queries import all_deployments
from changeover.tasks.queries import current_routes

SPEAK_OF_ALL = (
    "/tasks",
    "/rollouts",
    "/comparisons",
    "/comparisons/now",
    "/trials",
    "/trials/candidates?look=1",
    "/deployments",
    "/deployments/part",
    "/lock-in/report",
    "/usage?by=task",
    "/usage/csv?by=task",
    "/audit",
    "/playground",
    "/library/timeline",
)


def names_of(busy: BusyConsole) -> list[str]:
    with busy.installation.store.read() as connection:
        return sorted(current_routes(connection))


@asynccontextmanager
async def limited(busy: BusyConsole) -> AsyncGenerator[httpx2.AsyncClient]:
    """An operator with a key of the first task only."""
    with busy.installation.store.write() as connection:
        now, tasks = busy.installation.clock.now(), names_of(busy)[:1]
        secret = issue_key(connection, name="of one task", role="operator", now=now, tasks=tasks)
    async with busy.signed_in(None) as somebody:
        assert (await somebody.post("/sign-in", data={"key": secret})).status_code == 303
        yield somebody


async def test_pages_that_speak_of_all_tasks_name_none_that_is_not_theirs(busy_console: BusyConsole) -> None:
    others = names_of(busy_console)[1:]
    names = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in others))
    deployments = [f"/deployments/{name}" for name in deployments_of(busy_console)]
    named: dict[str, list[str]] = {}
    async with limited(busy_console) as somebody:
        for path in (*SPEAK_OF_ALL, *deployments):
            answer = await somebody.get(path)
            assert answer.status_code == 200, (path, answer.text)
            if found := [
                answer.text[max(0, each.start() - 60) : each.end() + 20] for each in names.finditer(answer.text)
            ]:
                named[path] = found
    assert named == {}


def deployments_of(busy: BusyConsole) -> list[str]:
    with busy.installation.store.read() as connection:
        return [row.name for row in all_deployments(connection)]


async def test_the_timeline_of_a_task_of_others_is_refused(busy_console: BusyConsole) -> None:
    own, other = names_of(busy_console)[:2]
    async with limited(busy_console) as somebody:
        assert (await somebody.get("/library/timeline", params={"task": other})).status_code == 403
        assert (await somebody.get("/library/timeline", params={"task": own})).status_code in (200, 404)

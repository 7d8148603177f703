"""Somebody who may see some tasks only finds nothing of the others: on no page, in no part, event, file or refusal."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from tests.support import console
from tests.support.console import BusyConsole
from tests.support.others import MARK, conceal

from changeover.app.installation import own_echo
from changeover.app.keys import new_key, new_team
from changeover.console.app import PAGES
from changeover.console.routes import Page
from changeover.evals.queries import find_verdict, newest_comparisons
from changeover.evals.trial_queries import recent_trials
from changeover.gateway.keys import Role, issue_key
from changeover.rollouts.queries import find_rollout, newest_rollouts
from changeover.serving.parts import EnginePart
from changeover.serving.queries import add_deployment, all_deployments, load_variants
from changeover.tasks.queries import current_routes, recent_exchanges

OWN = "code"
SPEAK_OF_ALL = (
    "/tasks",
    "/rollouts",
    "/comparisons",
    "/trials/1",
    "/deployments",
    "/lock-in/report",
    "/usage?by=task",
    "/usage/csv?by=task",
    "/audit",
    "/playground",
    "/library/timeline",
    "/library/gemma-3-12b-it",
    "/library/gemma-3-12b-it/replaces",
)
QUERIES: Mapping[str, tuple[str, ...]] = {
    "/usage": ("?by=task", "?by=deployment", "?by=key", "?by=team", "?by=task&internal=1&period=24h"),
    "/usage/csv": ("?by=task", "?by=deployment", "?by=key", "?by=team"),
    "/trials/candidates": ("?look=1",),
    "/library": ("?q=summarise+a+document", "?state=answers", "?q=xyzz", "?scores=now"),
    "/library/results": ("?state=answers",),
    "/library/timeline": (f"?task={OWN}", "?task=none"),
    "/deployments/plan": ("?model=qwen3-8b",),
    "/audit": ("?action=trial", "?action=apply", "?actor=ana"),
    "/measuring/trial": ("?candidate=qwen3-8b",),
    "/measuring/comparison": (f"?task={OWN}", f"?task={OWN}&candidate=qwen3-8b"),
    "/tasks": ("?state=needs", "?state=removed", "?sort=requests", "?q=xyzz"),
    "/tasks/{task}/variants": ("?a=incumbent&b=former", "?a=none", "?a=999999999999999999999999"),
}
"""What else addresses are asked for."""


@dataclass(frozen=True)
class Apart:
    """The console, and what there is of others."""

    busy: BusyConsole
    given: Mapping[str, list[str]]
    """For each part of an address: what it may be, of theirs and of others."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory = tmp_path_factory.mktemp("limited") / "project"
    keys = console.busy_copy(run, directory)
    conceal(directory, OWN)
    busy = console.over(directory, **keys)
    _add_others(busy)
    yield Apart(busy, _given(busy))
    asyncio.run(console.closed(busy))


def _add_others(busy: BusyConsole) -> None:
    """A team, a key and an engine that have to do with others only."""
    installation = busy.installation
    now = installation.clock.now()
    new_team(installation, f"{MARK}-team", f"key:{MARK}-admin")
    new_key(installation, f"{MARK}-key", f"key:{MARK}-admin", team=f"{MARK}-team")
    with installation.store.write() as connection:
        route = current_routes(connection)[f"{MARK}-0"]
        engine = load_variants(connection, [route.incumbent])[route.incumbent].bundle.engine
        add_deployment(
            connection,
            name=own_echo(f"{MARK}-0"),
            backend="echo",
            model=f"{MARK}-model",
            options={},
            engine=EnginePart.document(engine),
            actor=f"key:{MARK}-admin",
            now=now,
        )


def _given(busy: BusyConsole) -> Mapping[str, list[str]]:
    with busy.installation.store.read() as connection:
        tasks = [OWN, f"{MARK}-0", f"{MARK}-1", "no-such"]
        ended = newest_rollouts(connection, tasks=None, before=None, ended=True, limit=4)
        active = newest_rollouts(connection, tasks=None, before=None, ended=False, limit=20)
        own = newest_rollouts(connection, tasks=[OWN], before=None, ended=True, limit=2)
        verdicts = newest_comparisons(connection, tasks=None, candidate=None, verdict=None, before=None, limit=6)
        theirs = newest_comparisons(connection, tasks=[OWN], candidate=None, verdict=None, before=None, limit=2)
        exchanges = [recent_exchanges(connection, task, 1)[0].id for task in tasks[:2]]
        cards = {str(row.model) for row in all_deployments(connection)}
        return {
            "task": tasks,
            "rollout": [*{str(each.id) for each in (*own, *ended, *active)}, "99999"],
            "comparison": [*{each.id for each in (*verdicts, *theirs)}, "none"],
            "trial": [*(str(each.id) for each in recent_trials(connection, 5, None)), "99999"],
            "name": [*(row.name for row in all_deployments(connection)), "none"],
            "exchange": exchanges,
            "card": [*sorted(card for card in cards if MARK not in card)[:4], "none"],
            "key": ["none"],
            "team": [f"{MARK}-team"],
            "play": ["none"],
            "column": ["0"],
            "tool": ["none"],
            "job": ["none"],
        }


def addresses(page: Page, given: Mapping[str, list[str]]) -> list[str]:
    """Every address of a page with what there is, and with what its query may ask."""
    found = [page.path]
    for name, marked in re.findall(r"\{((\w+)(?::\w+)?)\}", page.path):
        found = [path.replace(f"{{{name}}}", value) for path in found for value in given[marked]]
    more = [f"{path}{query}" for path in found for query in QUERIES.get(page.path, ())]
    return [*found, *more]


@asynccontextmanager
async def limited(apart: Apart, role: Role) -> AsyncGenerator[httpx2.AsyncClient]:
    """Somebody with a key of the one task."""
    with apart.busy.installation.store.write() as connection:
        now = apart.busy.installation.clock.now()
        secret = issue_key(connection, name=f"of one task {role}", role=role, now=now, tasks=[OWN])
    async with apart.busy.signed_in(None) as somebody:
        assert (await somebody.post("/sign-in", data={"key": secret})).status_code == 303
        yield somebody


async def answer_of(somebody: httpx2.AsyncClient, method: str, path: str, **more: Any) -> tuple[int, str]:
    """Status and text; of a stream no more than what comes at once."""
    text = b""
    async with somebody.stream(method, path, **more) as answer:
        if "event-stream" in answer.headers.get("content-type", ""):
            async for part in answer.aiter_bytes():
                return answer.status_code, part.decode()
        text = await answer.aread()
        return answer.status_code, text.decode() + str(sorted(answer.headers.items()))


def told_of(path: str, text: str) -> list[str]:
    """What an answer has of others, beside what was typed to get it."""
    for typed in re.findall(rf"(?:echo-)?{MARK}[\w-]*", path):
        text = text.replace(typed, "")
    return [text[max(0, each.start() - 90) : each.end() + 30] for each in re.finditer(MARK, text)]


async def test_no_page_part_or_event_tells_of_what_is_others(apart: Apart) -> None:
    told: dict[str, list[str]] = {}
    statuses: dict[str, int] = {}
    async with limited(apart, "admin") as somebody:  # whoever may do more is shown more
        for page in PAGES:
            for path in addresses(page, apart.given) if "GET" in page.methods else ():
                if page.path.endswith("events") and statuses.get(path.rpartition("/")[0]) not in (403, 404):
                    continue  # of something that is theirs it does not end
                statuses[path], text = await answer_of(somebody, "GET", path)
                assert statuses[path] < 500 or statuses[path] == 503, (path, text[:2000])
                if statuses[path] == 200 and MARK in path and "?" not in path:
                    told[path] = ["it is shown at all"]
                elif found := told_of(path, text):
                    told[path] = found
    assert told == {}
    assert not {path for path, status in statuses.items() if path.endswith("/events") and status == 200}
    for path in SPEAK_OF_ALL:
        assert statuses[path] == 200, path
    with apart.busy.installation.store.read() as connection:
        of_rollouts = {str(id): find_rollout(connection, int(id)) for id in apart.given["rollout"]}
        of_comparisons = {id: find_verdict(connection, id) for id in apart.given["comparison"]}
    for below, found in (("rollouts", of_rollouts), ("comparisons", of_comparisons)):
        there = {id: 200 if each is not None and each.task == OWN else 404 for id, each in found.items()}
        assert {id: statuses[f"/{below}/{id}"] for id in found} == there
    own, others = apart.given["exchange"]
    assert statuses[f"/tasks/{OWN}/exchanges/{own}"] == 200
    assert statuses[f"/tasks/{OWN}/exchanges/{others}"] == 404


async def test_whoever_may_see_every_task_is_shown_what_the_others_are_not(apart: Apart) -> None:
    """Else there would be nothing to keep from anybody."""
    async with apart.busy.signed_in("admin") as admin:
        for path in SPEAK_OF_ALL:
            assert MARK in (await admin.get(path)).text, path


async def test_no_refused_or_done_deed_tells_of_what_is_others(apart: Apart) -> None:
    told: dict[str, list[str]] = {}
    fields = {
        "reason": "a walk",
        "to": "none",
        "task": f"{MARK}-1",
        "ask": f"{MARK}-1",
        "user": "hello",
        "model": "none",
        "gate": "approval",
        "approver": "ana",
        "leave": "1 h",
        "target": "x",
        "exchange": apart.given["exchange"][1],
    }
    async with limited(apart, "admin") as somebody:
        session = apart.busy.app.state.sessions.find(somebody.cookies["changeover_session"])
        for page in PAGES:
            if "POST" not in page.methods:
                continue
            for path in addresses(page, apart.given):
                for more in ({}, {"task": OWN}, {"to": apart.given["name"][0], "task": OWN, "exchange": ""}):
                    data = {**fields, **more, "csrf": session.csrf}
                    status, text = await answer_of(somebody, "POST", path, data=data)
                    assert status < 500 or status == 503, (path, text[:2000])
                    after = (await somebody.get("/tasks")).text if status == 303 else ""
                    typed = " ".join((path, *(value for value in data.values() if MARK in value)))
                    if found := told_of(typed, text + after):
                        told[path] = found
    assert told == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page.whole], ids=lambda page: page.path)
async def test_what_concerns_all_tasks_is_refused_to_a_limited_administrator(apart: Apart, page: Page) -> None:
    async with limited(apart, "admin") as somebody:
        session = apart.busy.app.state.sessions.find(somebody.cookies["changeover_session"])
        for method in page.methods:
            path = addresses(page, apart.given)[0]
            status, text = await answer_of(somebody, method, path, data={"csrf": session.csrf, "reason": "x"})
            assert (status, "limited to some tasks" in text) == (403, True), (method, path)


async def test_what_is_counted_is_counted_of_theirs_alone(apart: Apart) -> None:
    async with limited(apart, "viewer") as somebody:
        tasks, tied, tried = [
            re.sub(r"<[^>]+>|\s+", " ", (await somebody.get(path)).text)
            for path in ("/tasks", "/lock-in/report", "/trials/1")
        ]
        usage = (await somebody.get("/usage")).text
    assert re.search(r"Tasks +1 +Under way", tasks)
    assert re.search(r"on evidence +\d +of 1 tasks", tied)
    assert "against 1 task " in tried
    assert f">{OWN}<" in usage, "what is theirs is shown without being asked for"


async def test_what_a_limited_administrator_may_not_do_is_not_offered(apart: Apart) -> None:
    async with limited(apart, "admin") as somebody, apart.busy.signed_in("admin") as admin:
        for path, deed in (("/tasks", 'href="/keys"'), ("/deployments/echo", "/deployments/echo/st")):
            assert deed in (await admin.get(path)).text
            assert deed not in (await somebody.get(path)).text

"""Comparisons and trials that are begun on pages: one at a time, to be seen while they run, stopped, and gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest
from tests.support import console
from tests.support.console import BusyConsole
from tests.support.processes import Up, system, until
from tests.support.projects import write_project

from changeover.app.bench import CLOSED, Bench, Measurement
from changeover.app.tried import tried
from changeover.evals.queries import find_comparison
from changeover.evals.trial_queries import newest_trial
from changeover.gateway.keys import issue_key
from changeover.serving.queries import all_deployments
from changeover.store.audit import Wanted, acts

TASKS = ("echo", "other")


@dataclass
class Place:
    """A running system, and a console over it."""

    up: Up
    busy: BusyConsole

    @property
    def bench(self) -> Bench:
        return self.busy.app.state.desk.bench

    @asynccontextmanager
    async def somebody(self, role: str) -> AsyncGenerator[httpx2.AsyncClient]:
        """A browser of somebody, whose session ends with the block: its connections belong to this test's loop."""
        async with self.busy.signed_in(role) as client:
            yield client
            await client.post("/sign-out", data={"csrf": self.csrf_of(client)})

    def csrf_of(self, client: httpx2.AsyncClient) -> str:
        return self.busy.app.state.sessions.find(client.cookies["changeover_session"]).csrf

    async def came_to(self, reached: Callable[[Measurement], bool]) -> Measurement:
        """What is measured, once it has come so far."""
        async with asyncio.timeout(30):
            while (made := self.bench.newest) is None or not reached(made):
                await asyncio.sleep(0.05)
        return made

    async def ended(self) -> Measurement:
        return await self.came_to(lambda made: made.over)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    project = write_project(tmp_path_factory.mktemp("measuring") / "project", TASKS)
    with system(project) as up:
        for name, option in (("second", "reply=ok"), ("slow", "delay_s=120")):
            assert up.call("deploy", name, "--engine", "echo", "--option", option).status == 0
        with up.opened() as installation, installation.store.write() as connection:
            keys = {
                role: issue_key(connection, name=f"the {role}", role=role, now=installation.clock.now())
                for role in ("viewer", "operator")
            }
            keys["limited"] = issue_key(
                connection,
                name="the limited",
                role="operator",
                now=installation.clock.now(),
                tasks=frozenset({"other"}),
            )
        until(lambda: up.ready("second"))
        busy = console.over(project, **keys)
        yield Place(up, busy)
        asyncio.run(console.closed(busy))


async def begin(place: Place, somebody: httpx2.AsyncClient, kind: str, candidate: str, *tasks: str) -> httpx2.Response:
    fields = {"csrf": place.csrf_of(somebody), "candidate": candidate, "task": list(tasks)}
    return await somebody.post(f"/measuring/{kind}", data=fields)


async def test_a_comparison_begins_on_a_page_and_ends_in_its_report(place: Place) -> None:
    async with place.somebody("operator") as operator:
        form = (await operator.get("/measuring/comparison?task=echo&candidate=second")).text
        assert 'value="second" required checked' in form
        answer = await begin(place, operator, "comparison", "second", "echo")
        assert (answer.status_code, answer.headers["location"]) == (303, "/measuring"), answer.text
        made = await place.ended()
        assert (made.state, made.says) == ("done", "")
        shown = await operator.get("/measuring")
        assert shown.headers["location"] == f"/comparisons/{made.comparison}"
        assert "second" in (await operator.get(f"/comparisons/{made.comparison}")).text
    with place.busy.installation.store.read() as connection:
        found = find_comparison(connection, str(made.comparison))
        noted = acts(connection, Wanted(action="compare"))
    assert ((found.summary or {})["stopped"], found.actor) == (None, "key:the operator")
    assert [(act.actor, act.subject, act.task) for act in noted] == [
        ("key:the operator", f"comparison {made.comparison}", "echo")
    ]


async def test_one_thing_is_measured_at_a_time_and_who_stops_it_can_go_on_with_it(place: Place) -> None:
    async with place.somebody("operator") as operator:
        assert (await begin(place, operator, "trial", "slow", *TASKS)).status_code == 303
        made = await place.came_to(lambda made: made.trial is not None and made.state == "measuring")
        second = await begin(place, operator, "comparison", "second", "echo")
        assert second.status_code == 409
        assert "one thing is measured at a time" in second.text
        async with place.somebody("limited") as limited:
            for refused in (
                await begin(place, limited, "comparison", "second", "other"),
                await place.busy.send(limited, "/measuring/stop", reason="it is in my way", run=made.id),
            ):
                assert refused.status_code in (400, 409)
                assert "not yours" in refused.text
                assert "the operator" not in refused.text, "nothing is told of what it is, nor of whose"
        page = (await operator.get(f"/trials/{made.trial}")).text
        assert 'action="/measuring/stop"' in page
        nobody = await place.busy.send(operator, "/measuring/stop")
        assert nobody.status_code == 400, "it has to be said why"
        other = await place.busy.send(operator, "/measuring/stop", reason="an old page", run="run_of-before")
        assert (other.status_code, "Nothing was done" in other.text) == (409, True), "something else was looked at"
        assert f'name="run" value="{made.id}"' in page
        stopped = await place.busy.send(operator, "/measuring/stop", reason="the desk is busy", run=made.id)
        assert stopped.headers["location"] == f"/trials/{made.trial}"
        ended = await place.ended()
        assert (ended.state, ended.says) == ("stopped", "key:the operator stopped it: the desk is busy")
        page = (await operator.get(f"/trials/{made.trial}")).text
        assert 'href="/measuring/trial?candidate=slow"' in page
        assert "it was stopped" in page
        assert (await begin(place, operator, "trial", "slow", *TASKS)).status_code == 303
        again = await place.came_to(lambda made: made is not ended and made.trial is not None)
        assert again.trial == made.trial, "it goes on, and does not begin anew"
        await place.busy.send(operator, "/measuring/stop", reason="enough")
        await place.ended()
    with place.busy.installation.store.read() as connection:
        noted = [(act.action, act.subject, act.reason) for act in acts(connection, Wanted(action="stop"))]
    assert noted == [("stop", f"trial {made.trial}", why) for why in ("enough", "the desk is busy")]


async def test_what_cannot_be_measured_is_refused_where_it_was_typed(place: Place) -> None:
    async with place.somebody("operator") as operator:
        for kind, candidate, tasks, says in (
            ("comparison", "secnd", ("echo",), "No deployment and no model named"),
            ("comparison", "", ("echo",), "Choose a candidate"),
            ("comparison", "second", (), "Choose at least one task"),
            ("trial", "second", ("no-such",), "No task named"),
        ):
            answer = await begin(place, operator, kind, candidate, *tasks)
            assert answer.status_code in (400, 404), (kind, candidate, answer.text)
            assert says in answer.text, (kind, candidate, tasks)
        assert place.bench.running is None
    async with place.somebody("viewer") as viewer:
        assert (await begin(place, viewer, "trial", "second", *TASKS)).status_code == 403
        assert (await viewer.get("/measuring")).status_code == 303, "what was measured last has a page"


async def test_a_failure_in_the_thread_is_shown_and_leaves_the_place_free(place: Place) -> None:
    async with place.somebody("operator") as operator:
        assert (await begin(place, operator, "comparison", "echo", "echo")).status_code == 303
        made = await place.ended()
        assert made.state == "failed"
        page = (await operator.get("/measuring")).text
        assert "already answers" in page
        assert 'href="/measuring/comparison?candidate=echo&amp;task=echo"' in page


async def test_with_the_console_what_it_measures_ends_and_what_was_found_is_kept(place: Place) -> None:
    """The last test of this module: the place where things are measured is closed after it."""
    async with place.somebody("operator") as operator:
        assert (await begin(place, operator, "comparison", "slow", "other")).status_code == 303
        made = await place.came_to(lambda made: made.comparison is not None)
        await asyncio.to_thread(place.bench.close)
        assert (made.state, made.says) == ("stopped", CLOSED)
        refused = await begin(place, operator, "comparison", "second", "other")
        assert refused.status_code == 409
    with place.busy.installation.store.read() as connection:
        found = find_comparison(connection, str(made.comparison))
        trial = tried(connection, newest_trial(connection), place.busy.installation.clock.now())
        assert {row.name for row in all_deployments(connection)} == {"echo", "second", "slow"}
    assert (found.verdict, (found.summary or {})["stopped"]) == ("inconclusive", CLOSED)
    assert not trial.alive

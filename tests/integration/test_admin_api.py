"""The admin API over real sockets: a rollout proposed, steered and looked at by programs elsewhere."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from tests.support.processes import line_of
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.deploy import ask_for
from changeover.gateway.keys import Role, issue_key
from changeover.rollouts.actions import By, promote, start
from changeover.rollouts.decide import Plan
from changeover.rollouts.queries import latest_rollout, rollout_history
from changeover.serving.backends import describe
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import add_deployment, all_deployments, find_deployment, want

TASKS = "/admin/v1/tasks"


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    async with running(open_written(write_project(tmp_path / "p", ("echo", "other")))) as up:
        await up.ready("echo")
        yield up


async def call(up: Running, method: str, path: str, key: str | None = None, **body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers(key or up.operator)) as http,
        http.request(method, f"{TASKS}{path}", data=json.dumps(body) if body else None) as response,
    ):
        return response.status, await response.json()


async def key_named(up: Running, name: str, role: Role = "admin", **more: Any) -> str:
    with up.installation.store.write() as connection:
        secret = issue_key(connection, name=name, role=role, now=up.installation.clock.now(), **more)
    async with asyncio.timeout(10):
        while (await call(up, "GET", "", secret))[0] == 401:
            await asyncio.sleep(0.05)
    return secret


def told(up: Running) -> list[tuple[str, str, str]]:
    with up.installation.store.read() as connection:
        rollout = latest_rollout(connection, "echo")
        assert rollout is not None
        return [(each.action, each.actor, each.reason) for each in rollout_history(connection, rollout.id)]


async def test_a_rollout_is_proposed_steered_and_ended_and_the_history_names_the_key(up: Running) -> None:
    deploy_echo(up.installation, "new")
    ci = await key_named(up, "ci")
    status, said = await call(up, "POST", "/echo/switch", ci, to="new", reason="a better one")
    assert status == 200, said
    assert (said["rollout"]["state"], said["rollout"]["candidate"]) == ("evaluation", "new")
    assert said["route"]["candidate"] is None, "no request is touched before it is measured"
    status, said = await call(up, "POST", "/echo/pause", ci, reason="lunch")
    assert (status, said["rollout"]["hold"]["reason"]) == (200, "lunch")
    assert (await call(up, "POST", "/echo/pause", ci, reason="again"))[0] == 409
    assert (await call(up, "POST", "/echo/resume", ci, reason="back"))[1]["rollout"]["hold"] is None
    status, said = await call(up, "POST", "/echo/promote", ci, reason="now")
    assert (status, said["error"]["code"]) == (409, "not_allowed")
    assert "no evaluation yet" in said["error"]["message"]
    override = {"gate": "evaluation", "approver": "ana", "expires_at": "2100-01-01T00:00:00+01:00"}
    assert (await call(up, "POST", "/echo/override", ci, reason="an emergency", **override))[0] == 200
    status, said = await call(up, "POST", "/echo/promote", ci, reason="now")
    if status == 200:  # the controller may have gone on meanwhile: its gate is open
        assert said["route"]["incumbent"] == "new"
    assert ("start", "key:ci", "a better one") in told(up)
    assert ("override", "key:ci", "an emergency") in told(up)


async def test_an_abort_and_a_rollback_say_who_answers(up: Running) -> None:
    deploy_echo(up.installation, "new")
    await call(up, "POST", "/echo/switch", to="new", reason="try")
    status, said = await call(up, "POST", "/echo/abort", reason="not today")
    assert (status, said["rollout"]["state"], said["route"]["incumbent"]) == (200, "aborted", "echo")
    status, said = await call(up, "POST", "/echo/rollback", reason="complaints")
    assert status == 409
    assert "no former incumbent" in said["error"]["message"]


async def test_a_refused_switch_starts_no_engine(up: Running) -> None:
    deploy_echo(up.installation, "new")
    await call(up, "POST", "/echo/switch", to="new", reason="try")
    with up.installation.store.write() as connection:
        add_deployment(
            connection, name="third", backend="echo", model="third", options={}, actor="test",
            engine=find_deployment(connection, "new").engine, now=up.installation.clock.now(), desired="stopped",
        )  # fmt: skip
    assert (await call(up, "POST", "/echo/switch", to="third", reason="try"))[0] == 409
    with up.installation.store.read() as connection:
        assert find_deployment(connection, "third").desired == "stopped"


async def test_a_rollback_waits_for_a_former_engine_that_was_stopped(up: Running) -> None:
    new = deploy_echo(up.installation, "new")
    store, now = up.installation.store, up.installation.clock.now()
    with store.write() as connection:
        plan = Plan(steps=(), tolerated_failures=0.5, alpha=0.01, bake_s=0)
        promote(connection, start(connection, new, plan, None, By("ana", "try", now)), None, By("ana", "try", now))
        want(connection, "echo", "stopped", now)
    await until_state(up, "echo", "stopped")
    status, said = await call(up, "POST", "/echo/rollback", reason="complaints")
    assert (status, "is being started" in said["error"]["message"]) == (409, True), said
    assert (await call(up, "GET", "/echo/rollout"))[1]["route"]["incumbent"] == "new", "who can answer goes on"
    await until_state(up, "echo", "ready")
    status, said = await call(up, "POST", "/echo/rollback", reason="complaints")
    assert (status, said["route"]["incumbent"]) == (200, "echo")


async def until_state(up: Running, name: str, state: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with up.installation.store.read() as connection:
                if find_deployment(connection, name).state == state:
                    return
            await asyncio.sleep(0.05)


async def test_who_began_a_rollout_cannot_approve_it_and_another_key_can(up: Running) -> None:
    deploy_echo(up.installation, "new")
    ana, ben = await key_named(up, "ana", "admin"), await key_named(up, "ben", "approver")
    await call(up, "POST", "/echo/switch", ana, to="new", reason="try")
    status, said = await call(up, "POST", "/echo/approve", ana, reason="mine")
    assert (status, "somebody else" in said["error"]["message"]) == (409, True)
    status, said = await call(up, "POST", "/echo/approve", ben, reason="seen the report")
    assert (status, said["rollout"]["last_event"]["actor"]) == (200, "key:ben")


async def test_tasks_rollouts_and_histories_are_looked_at_by_viewers_too(up: Running) -> None:
    viewer = await key_named(up, "screen", "viewer")
    status, said = await call(up, "GET", "", viewer)
    assert (status, [each["task"] for each in said["tasks"]]) == (200, ["echo", "other"])
    status, said = await call(up, "GET", "/echo/rollout", viewer)
    assert (status, said["rollout"], said["route"]["incumbent"]) == (200, None, "echo")
    status, said = await call(up, "GET", "/echo/history", viewer)
    assert (status, [each["action"] for each in said["revisions"]]) == (200, ["start"])
    assert (await call(up, "POST", "/echo/abort", viewer, reason="no"))[0] == 403


async def test_a_key_that_has_only_some_tasks_neither_sees_nor_steers_others(up: Running) -> None:
    narrow = await key_named(up, "narrow", tasks=["other"])
    assert [each["task"] for each in (await call(up, "GET", "", narrow))[1]["tasks"]] == ["other"]
    assert (await call(up, "GET", "/echo/rollout", narrow))[0] == 403
    assert (await call(up, "POST", "/echo/switch", narrow, to="echo", reason="try"))[0] == 403


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/ecko/pause", {"reason": "x"}, 404, "Did you mean `echo`"),
        ("/echo/switch", {"to": "nobody", "reason": "x"}, 404, "No deployment named `nobody`"),
        ("/echo/switch", {"to": "echo", "reason": "x"}, 409, "already answers"),
        ("/echo/switch", {"reason": "x"}, 400, "`to`"),
        ("/echo/pause", {"reason": ""}, 400, "`reason`"),
        ("/echo/pause", {"reason": "x" * 2001}, 400, "`reason`"),
        ("/echo/pause", {"reason": 5}, 400, "$.reason"),
        ("/echo/pause", {"reason": "x", "by": "ana"}, 400, "`by`"),
        ("/echo/abort", {"reason": "x"}, 409, "no rollout under way"),
        (
            "/echo/override",
            {"reason": "x", "gate": "evaluation", "approver": "a", "expires_at": "2100-01-01T00:00:00"},
            400,
            "time zone",
        ),
        ("/echo/override", {"reason": "x", "gate": "guards", "approver": "a", "expires_at": "2100-01-01T00:00:00Z"}, 400, "gate"),
        ("/echo/delete", {"reason": "x"}, 404, "No route"),
        ("/echo/x/pause", {"reason": "x"}, 404, "No route"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_said_and_changes_nothing(
    up: Running, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    got, said = await call(up, "POST", path, **body)
    assert (got, words in said["error"]["message"]) == (status, True), said
    with up.installation.store.read() as connection:
        assert latest_rollout(connection, "echo") is None


async def test_a_switch_that_is_refused_starts_no_engine(up: Running) -> None:
    for name, memory_mib in (("new", 0), ("spare", 0), ("large", 1 << 20)):
        engine = EnginePlan(deployment=name, backend="echo", model=name, options={"memory_mib": memory_mib})
        with up.installation.store.write() as connection:
            now = up.installation.clock.now()
            ask_for(connection, engine, describe(engine), "test", now, desired="stopped")
    status, said = await call(up, "POST", "/echo/switch", to="large", reason="try")
    assert (status, "needs 1024.0 GiB; the budget is" in said["error"]["message"]) == (409, True), said
    assert (await call(up, "GET", "/echo/rollout"))[1]["rollout"] is None
    assert (await call(up, "POST", "/echo/switch", to="new", reason="try"))[0] == 200
    assert (await call(up, "POST", "/echo/switch", to="spare", reason="try"))[0] == 409, "another is under way"
    with up.installation.store.read() as connection:
        desired = {row.name: row.desired for row in all_deployments(connection)}
    assert (desired["new"], desired["spare"], desired["large"]) == ("running", "stopped", "stopped")


async def test_the_store_is_used_in_a_thread_so_that_nobody_waits_for_it(up: Running) -> None:
    # A writer holds the store; a call that has to write waits for it, and health answers meanwhile.
    with up.installation.store.write():
        waiting = asyncio.create_task(call(up, "POST", "/echo/abort", reason="x"))
        await asyncio.sleep(0.2)
        async with aiohttp.ClientSession(up.address) as http, http.get("/healthz") as response:
            assert response.status == 200
        assert not waiting.done()
    assert (await waiting)[0] == 409


async def test_many_that_wait_for_the_store_delay_nothing_else_that_needs_a_thread(up: Running) -> None:
    with up.installation.store.write():
        waiting = [asyncio.create_task(call(up, "POST", "/echo/abort", reason="x")) for _ in range(40)]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(3):  # routes, keys and limits are followed in these threads
            await asyncio.to_thread(int)
        assert not any(each.done() for each in waiting)
    assert {status for status, _ in await asyncio.gather(*waiting)} == {409}


async def test_workers_answer_it_as_well(tmp_path: Path) -> None:
    async with running(open_written(write_project(tmp_path / "p")), workers=2) as up:
        deploy_echo(up.installation, "new")
        status, said = await call(up, "POST", "/echo/switch", to="new", reason="try")
        assert (status, said["rollout"]["state"]) == (200, "evaluation")


async def test_an_evaluation_under_way_ends_with_the_system_and_leaves_nothing_open(tmp_path: Path) -> None:
    def evaluations() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if "--rollout" in line_of(each)]

    async with running(open_written(write_project(tmp_path / "p"))) as up:
        await up.ready("echo")
        deploy_echo(up.installation, "new")
        assert (await call(up, "POST", "/echo/switch", to="new", reason="a better one"))[0] == 200
        async with asyncio.timeout(30):
            while not evaluations():
                await asyncio.sleep(0.05)
        up.system.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has begun to end the other process, and is told once more
    assert not evaluations()
    gc.collect()  # says what was left open, and that fails a test here

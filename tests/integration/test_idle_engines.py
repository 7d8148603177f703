"""Engines that nobody asks for are unloaded, and loaded again for whoever asks: the whole system, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.deploy import deploy
from changeover.core.sizes import MIB
from changeover.rollouts import actions
from changeover.serving.backends import EchoBackend
from changeover.serving.fleet import Fleet
from changeover.serving.life import Timing
from changeover.serving.occupancy import Bounds
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.queries import Deployment, add_deployment, find_deployment, want
from changeover.serving.supervisor import Supervisor
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recent_exchanges

ENGINE = "echo-echo"
PATIENCE_S = 60


@asynccontextmanager
async def a_system(
    directory: Path, *, workers: int = 1, idle_s: float = 0.6, timeout_s: float = 20, **engine: float | str
) -> AsyncGenerator[Running]:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {"chunks": 8, **engine}.items())
    write_project(
        directory,
        timeout_s=timeout_s,
        steps=f"[echo]\n{lines}",
        gateway=f"ready_wait_s = 0.2\nworkers = {workers}\n[engines]\nidle_unload_s = {idle_s}\n",
    )
    async with running(open_written(directory)) as up:
        yield up


def row(up: Running, name: str = ENGINE) -> Deployment:
    with up.installation.store.read() as connection:
        return find_deployment(connection, name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


async def reached(up: Running, state: str) -> Deployment:
    """The engine's row as it was when it said this: an idle one goes to sleep again soon."""
    seen: list[Deployment] = []

    def look() -> bool:
        seen[:] = [row(up)]
        return seen[0].state == state

    await until(look)
    return seen[0]


async def recorded(up: Running, count: int) -> Sequence[Exchange]:
    """What was written down of so many requests; the gateway writes a moment later."""

    def look() -> Sequence[Exchange]:
        with up.installation.store.read() as connection:
            return recent_exchanges(connection, "echo")

    await until(lambda: len(look()) == count)
    return look()


async def ask(up: Running, http: aiohttp.ClientSession, model: str = "echo") -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    async with http.post(f"{up.address}/v1/chat/completions", json=body, headers=up.headers()) as answer:
        said = await answer.json()
    return answer.status, said.get("error", {}).get("code", "")


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_idle_engine_is_unloaded_and_all_who_ask_at_once_wait_for_one_start(
    tmp_path: Path, workers: int
) -> None:
    async with (
        a_system(tmp_path / "p", workers=workers, idle_s=1, ready_delay_s=0.5) as up,
        aiohttp.ClientSession() as http,
    ):
        before = await reached(up, "idle")
        assert (before.pid, before.address, before.restarts) == (None, None, 0)
        assert before.detail.startswith("unloaded after 1 s without a request; starts at the next request, which took ")
        assert up.system.fleet.is_ready(ENGINE), "it is not broken"
        answers = await asyncio.gather(*(ask(up, http) for _ in range(12)))
        assert answers == [(200, "")] * 12
        after = await reached(up, "ready")
        assert after.restarts == 0
        assert after.detail.startswith("woken in ")
        kept = await recorded(up, 12)
        assert all(each.failed_variants == () for each in kept), "who was waited for has not failed"


async def test_an_engine_that_is_asked_again_and_again_stays(tmp_path: Path) -> None:
    async with a_system(tmp_path / "p", idle_s=1.5) as up, aiohttp.ClientSession() as http:
        began = await reached(up, "ready")
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 2.5
        while loop.time() < until_s:
            assert (await ask(up, http))[0] == 200
            await asyncio.sleep(0.1)
        now = row(up)
        assert (now.state, now.pid) == ("ready", began.pid)


async def test_who_has_no_time_to_wait_for_the_start_is_told_so(tmp_path: Path) -> None:
    async with (
        a_system(tmp_path / "p", idle_s=1.2, ready_delay_s=3, timeout_s=1.5) as up,
        aiohttp.ClientSession() as http,
    ):
        await until(lambda: row(up).state == "idle")
        assert await ask(up, http) == (503, "not_ready")
        await until(lambda: row(up).state == "ready")
        assert await ask(up, http) == (200, "")


async def test_a_deployment_that_says_so_itself_is_never_unloaded(tmp_path: Path) -> None:
    async with a_system(tmp_path / "p", idle_s=0.3) as up:
        deploy_echo(up.installation, "kept", idle_unload_s=0)
        await until(lambda: row(up, "kept").state == "ready")
        pid = row(up, "kept").pid
        await until(lambda: row(up).state == "idle")
        await until(lambda: up.system.fleet.is_ready("kept"))
        assert (row(up, "kept").state, row(up, "kept").pid) == ("ready", pid)


async def test_a_rollout_goes_on_though_its_candidate_was_unloaded(tmp_path: Path) -> None:
    async with a_system(tmp_path / "p", idle_s=0.5, ready_delay_s=0.2) as up, aiohttp.ClientSession() as http:
        candidate = deploy_echo(up.installation, "new", ready_delay_s=0.4)
        await until(lambda: row(up, "new").state == "idle" and row(up).state == "idle")
        by = actions.By("test", "try it", up.installation.clock.now())
        with up.installation.store.write() as connection:
            rollout = actions.start(
                connection, candidate, actions.plan_of(up.installation.tasks["echo"].declared), None, by
            )
            actions.promote(connection, rollout, None, by)
        revision = up.system.snapshot.tasks["echo"].route.revision
        async with asyncio.timeout(PATIENCE_S):
            while await up.route() == revision:
                await asyncio.sleep(0.02)
        assert await ask(up, http) == (200, "")
        [kept] = await recorded(up, 1)
        assert (kept.deployment, kept.failed_variants) == ("new", ()), "the former was ready no more than the new one"


async def test_who_waits_for_one_that_is_long_in_loading_is_answered_by_another_while_there_is_time(
    tmp_path: Path,
) -> None:
    async with a_system(tmp_path / "p", idle_s=60, timeout_s=4) as up, aiohttp.ClientSession() as http:
        candidate = deploy_echo(up.installation, "new", ready_delay_s=4, idle_unload_s=0.2)
        await until(lambda: row(up, "new").state == "idle" and row(up).state == "ready")
        by = actions.By("test", "try it", up.installation.clock.now())
        with up.installation.store.write() as connection:
            plan = actions.plan_of(up.installation.tasks["echo"].declared)
            actions.promote(connection, actions.start(connection, candidate, plan, None, by), None, by)
        await until(lambda: up.system.snapshot.tasks["echo"].route.former is not None)
        assert await ask(up, http) == (200, "")
        [kept] = await recorded(up, 1)
        assert (kept.deployment, kept.failed_variants) == (ENGINE, (candidate.id,)), "the guard sees who could not"


async def test_what_somebody_else_runs_is_not_unloaded_and_nothing_is_said_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "changeover.serving.fleet")
    async with a_system(tmp_path / "p", idle_s=0.2) as up:
        await until(lambda: row(up).state == "idle")
        silent: Json = {"endpoints": ["embeddings"]}  # so that it is asked for no first answer
        options: dict[str, Json] = {"base_url": f"{up.address}/elsewhere", "profile": silent}
        plan = EnginePlan(deployment="theirs", backend="openai", model="m", options=options)
        deploy(up.installation, plan, "test")
        await until(lambda: row(up, "theirs").state == "ready" and bool(up.system.fleet.is_ready("theirs")))
        deploy_echo(up.installation, "later", idle_unload_s=0.5)
        await until(lambda: row(up, "later").state == "idle")
        assert row(up, "theirs").state == "ready"
    assert not any("theirs: unloaded" in each.message for each in caplog.records)


class Machine:
    """A fleet of echo engines whose memory is scarce, without a gateway."""

    def __init__(self, directory: Path, *, rests_s: float, idle_s: float | None = None) -> None:
        self.installation = open_written(write_project(directory))
        clock = self.installation.clock
        self.supervisor = Supervisor(clock, directory / "logs", timing=Timing(stop_grace_s=0.5))
        bounds = Bounds(memory_bytes=1000 * MIB, rests_s=rests_s, idle_s=idle_s)
        load = lambda: self.installation.catalogue  # noqa: E731 - as short as it can be
        self.fleet = Fleet(self.installation.store, load, directory, self.supervisor, clock, bounds=bounds)

    def deploy(self, name: str, mib: float, kind: str = "echo", **options: float | str) -> None:
        with self.installation.store.write() as connection:
            add_deployment(
                connection,
                name=name,
                backend=kind,
                model=name,
                options={"memory_mib": mib, **options} if kind == "echo" else options,
                engine={},
                actor="test",
                now=self.installation.clock.now(),
            )

    def row(self, name: str) -> Deployment:
        with self.installation.store.read() as connection:
            return find_deployment(connection, name)

    async def is_(self, name: str, state: str) -> None:
        await until(lambda: self.row(name).state == state)

    async def ask(self, name: str) -> None:
        upstream = self.supervisor.upstream(name)
        assert upstream is not None
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "hello"}]}).encode()
        await upstream.fetch("/v1/chat/completions", body, first_byte_s=20, stall_s=20)

    async def listen(self, name: str) -> None:
        """Ask for an answer in pieces, and wait for all of them."""
        upstream = self.supervisor.upstream(name)
        assert upstream is not None
        message = {"role": "user", "content": "one two three"}
        body = json.dumps({"model": name, "messages": [message], "stream": True}).encode()
        async with upstream.send("/v1/chat/completions", body, first_byte_s=60, stall_s=600) as answer:
            await answer.read()


@asynccontextmanager
async def a_machine(directory: Path, *, rests_s: float = 0.0, idle_s: float | None = None) -> AsyncGenerator[Machine]:
    machine = Machine(directory, rests_s=rests_s, idle_s=idle_s)
    running_on = asyncio.create_task(machine.fleet.run())
    try:
        yield machine
    finally:
        running_on.cancel()
        await asyncio.gather(running_on, return_exceptions=True)
        await machine.supervisor.close()
        machine.installation.store.close()


async def test_what_nobody_needs_is_unloaded_for_another_and_back_when_it_is_asked_for(tmp_path: Path) -> None:
    async with a_machine(tmp_path / "p") as machine:
        machine.deploy("one", 600)
        await machine.is_("one", "ready")
        machine.deploy("two", 600)
        await machine.is_("two", "ready")
        assert machine.row("one").state == "idle"
        assert machine.row("one").detail.startswith("unloaded to make room for two; ")
        assert machine.fleet.wake("one")
        await machine.is_("one", "ready")
        assert machine.row("two").detail.startswith("unloaded to make room for one; ")
        assert [machine.row(name).restarts for name in ("one", "two")] == [0, 0]


async def test_one_with_a_request_under_way_is_waited_for(tmp_path: Path) -> None:
    async with a_machine(tmp_path / "p") as machine:
        machine.deploy("one", 600, chunk_delay_s=600)
        await machine.is_("one", "ready")
        asking = asyncio.create_task(machine.listen("one"))
        await until(lambda: machine.supervisor.in_flight("one") == 1)
        machine.deploy("two", 600)
        await until(lambda: machine.row("two").detail.startswith("waits until one can be unloaded: needs 0.6 GiB"))
        assert machine.row("one").state == "ready"
        asking.cancel()
        await machine.is_("two", "ready")
        assert machine.row("one").state == "idle"


async def test_what_finds_no_room_again_is_said_to_be_and_is_not_waited_for(tmp_path: Path) -> None:
    async with a_machine(tmp_path / "p") as machine:
        machine.deploy("one", 600)
        await machine.is_("one", "ready")
        machine.deploy("two", 600, idle_unload_s=0)
        await machine.is_("two", "ready")
        assert machine.fleet.wake("one"), "nothing is known yet"
        await until(lambda: not machine.fleet.wake("one"))
        said = "unloaded, and not loaded again: needs 0.6 GiB beside 0.6 GiB running; the budget is 1.0 GiB"
        await until(lambda: machine.row("one").detail == said)
        with machine.installation.store.write() as connection:
            want(connection, "two", "stopped", machine.installation.clock.now())
        await until(lambda: machine.fleet.wake("one"))
        await machine.is_("one", "ready")


async def test_one_that_was_unloaded_can_be_stopped_and_asked_for_again(tmp_path: Path) -> None:
    async with a_machine(tmp_path / "p", idle_s=0.2) as machine:
        machine.deploy("one", 10)
        await machine.is_("one", "idle")
        for desired, state in (("stopped", "stopped"), ("running", "ready")):
            with machine.installation.store.write() as connection:
                want(connection, "one", desired, machine.installation.clock.now())
            await until(lambda state=state: machine.row("one").state in (state, "idle" if state == "ready" else state))


async def test_of_two_that_are_asked_for_at_once_only_one_takes_the_room_that_there_is_for_one(tmp_path: Path) -> None:
    async with a_machine(tmp_path / "p", idle_s=0.3) as machine:
        for name in ("one", "two"):
            machine.deploy(name, 600, ready_delay_s=0.5)
            await machine.is_(name, "idle")
        assert machine.fleet.wake("one")
        assert machine.fleet.wake("two")
        loaded = machine.supervisor.loaded
        await until(lambda: loaded("one") or loaded("two"))
        while not any(machine.supervisor.upstreams()):
            assert not (loaded("one") and loaded("two"))
            await asyncio.sleep(0.02)


async def test_one_that_runs_elsewhere_is_not_said_to_be_unloaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    there = ChildEngine(
        EchoBackend().launch(EnginePlan(deployment="there", backend="echo", model="m")),
        EngineLog(tmp_path / "there.log"),
        os.environ,
    )
    address = await there.start(PATIENCE_S)
    monkeypatch.setenv("THEIR_KEY", address.secret)
    try:
        async with a_machine(tmp_path / "p", idle_s=0.2) as machine:
            where = {"base_url": f"http://127.0.0.1:{address.port}/v1", "model": "m", "api_key_env": "THEIR_KEY"}
            machine.deploy("far", 0, kind="openai", **where)
            await machine.is_("far", "ready")
            await until(lambda: machine.supervisor.unused_s("far") > 0.8)
    finally:
        await there.stop(1)
    assert not [each.getMessage() for each in caplog.records if each.getMessage().startswith("far: unloaded")]

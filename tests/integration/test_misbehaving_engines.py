"""Engines that do everything wrong that an engine can: what the supervisor says of each, and what callers notice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.core.clock import SystemClock
from changeover.rollouts import actions
from changeover.serving.engine_log import BYTES_A_SECOND
from changeover.serving.life import Timing
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import DeploymentStatus, Supervisor

HASTY = Timing(memory_every_s=0.05, stop_grace_s=0.5, drain_s=1.0)
READY_S = 4.0
"""Most that one may take to start and to answer where it never will."""
MESSAGES = [{"role": "user", "content": "one two three four five six seven eight"}]
PATIENCE_S = 60
ENOUGH = 20
"""Requests while one misbehaves."""


@pytest.fixture
async def supervisor(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Supervisor]:
    timing: Timing = getattr(request, "param", HASTY)
    made = Supervisor(SystemClock(), tmp_path / "logs", timing=timing, client="wire")
    yield made
    await made.close()


def plan(behaviour: str) -> EnginePlan:
    return EnginePlan(deployment="d", backend="echo", model="d", options={"behaviour": behaviour, "memory_mib": 64})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("supervisor", [replace(HASTY, ready_base_s=READY_S)], indirect=True, ids=["hasty"])
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("dies_starting", "ended with status 3; its log says: misbehaving: no memory for the weights"),
        ("garbles", "did not say on which port it is ready"),
        ("other_port", "failed its first answer: `d` cannot be reached (connection refused)"),
        ("hangs", "failed its first answer: `d` sent nothing within"),
        ("rubbish", "failed its first answer: JSON is malformed"),
    ],
)
async def test_one_that_is_not_ready_though_it_says_so_gets_no_request(
    supervisor: Supervisor, behaviour: str, said: str
) -> None:
    answered = 0

    def failed_so() -> bool:
        nonlocal answered
        answered += supervisor.upstream("d") is not None
        status = supervisor.status("d")
        return status.state == "restarting" and said in status.detail

    await supervisor.ensure(plan(behaviour))
    await until(failed_so)
    assert answered == 0


async def test_one_that_does_not_hear_that_it_shall_end_is_killed(supervisor: Supervisor) -> None:
    await supervisor.ensure(plan("deaf"))
    await supervisor.wait_ready("d", PATIENCE_S)
    process = psutil.Process(supervisor.status("d").pid)
    await supervisor.stop("d")
    assert not process.is_running()
    assert supervisor.status("d").state == "stopped"


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_what_an_engine_has_started_ends_with_it_wherever_that_has_moved(
    supervisor: Supervisor, how: str
) -> None:
    await supervisor.ensure(plan("children"))
    await supervisor.wait_ready("d", PATIENCE_S)
    engine = psutil.Process(supervisor.status("d").pid)
    children = engine.children()
    assert len(children) == 2
    if how == "stopped":
        await supervisor.stop("d")
    else:
        engine.kill()
        await until(lambda: supervisor.status("d").state == "restarting")
    await until(lambda: not any(each.is_running() and each.status() != "zombie" for each in children))


async def test_one_that_floods_its_log_is_held_back_and_its_secret_is_in_none_of_it(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await supervisor.ensure(plan("floods"))
    await supervisor.wait_ready("d", PATIENCE_S)

    def written() -> list[str]:
        return [each.read_text() for each in (tmp_path / "logs").iterdir()]

    await until(lambda: sum(map(len, written())) > 1 << 20)
    text, elapsed = "".join(written()), loop.time() - began
    assert "with [secret] in it\n" in text
    assert "engine-" not in text
    # What a second may hold is written at once, and a little more: the piece that fills it.
    assert len(text) <= (elapsed + 1) * 1.1 * BYTES_A_SECOND
    upstream = supervisor.upstream("d")
    assert upstream is not None
    assert await upstream.probe(10) is None, "it answers all the same"


async def test_the_memory_of_an_engine_is_that_of_all_it_has_started(supervisor: Supervisor) -> None:
    await supervisor.ensure(plan("children"))
    await supervisor.wait_ready("d", PATIENCE_S)
    engine = psutil.Process(supervisor.status("d").pid)
    [first, second] = engine.children()

    def counts_both() -> bool:
        shares = [each.memory_full_info().pss for each in (engine, first, second)]
        return sum(shares[:2]) < (supervisor.status("d").memory_bytes or 0) <= 1.05 * sum(shares)

    await until(counts_both)


@pytest.mark.parametrize("beside", [True, False])
async def test_one_that_leaks_is_replaced_and_the_reason_is_said(supervisor: Supervisor, beside: bool) -> None:
    await supervisor.ensure(plan("none"))
    await supervisor.wait_ready("d", PATIENCE_S)
    before = supervisor.status("d")
    supervisor.renew("d", "took 300 MiB, and may take 200 MiB", beside=beside)
    gaps = 0
    async with asyncio.timeout(PATIENCE_S):
        while supervisor.status("d").pid in (before.pid, None) or supervisor.upstream("d") is None:
            gaps += supervisor.upstream("d") is None
            await asyncio.sleep(0.005)
    after = supervisor.status("d")
    assert after.restarts == 1
    if beside:
        assert gaps == 0, "one of both could answer all the time"
        assert after.detail == "in place of one that took 300 MiB, and may take 200 MiB"
    assert before.pid is not None
    await until(lambda: not psutil.pid_exists(before.pid or 0))


async def test_one_that_leaks_as_soon_as_it_is_ready_is_given_up(supervisor: Supervisor) -> None:
    await supervisor.ensure(plan("none"))
    for _ in range(5):
        await supervisor.wait_ready("d", PATIENCE_S)
        pid = supervisor.status("d").pid
        supervisor.renew("d", "took 300 MiB, and may take 200 MiB", beside=True)
        await until(lambda pid=pid: supervisor.status("d").pid != pid)
    await until(lambda: supervisor.status("d").state == "failed")
    said = "gave up: 5 times in a row, soon after it was ready, it took 300 MiB, and may take 200 MiB"
    assert supervisor.status("d").detail == said


@pytest.mark.parametrize("behaviour", ["dies_mid_stream", "leaks", "rubbish"])
async def test_no_request_fails_where_another_can_answer(tmp_path: Path, behaviour: str) -> None:
    write_project(tmp_path / "p", gateway="ready_wait_s = 0.2\n[engines]\nmemory_limit = 1.1\nmemory_gib = 1.5\n")
    async with running(open_written(tmp_path / "p")) as up, aiohttp.ClientSession(headers=up.headers()) as http:
        await up.ready("echo")
        misbehaving = deploy_echo(up.installation, "bad", behaviour=behaviour, memory_mib=64)
        if behaviour != "rubbish":
            await up.ready("bad")
        by = actions.By("test", "rehearsal", up.installation.clock.now())
        plan = actions.plan_of(up.installation.tasks["echo"].declared)
        with up.installation.store.write() as connection:
            rollout = actions.start(connection, misbehaving, plan, None, by)
            actions.promote(connection, rollout, None, by)
        happened = {
            "dies_mid_stream": lambda: seen_of(up, "bad").restarts > 0,
            "leaks": lambda: "GiB, and may take" in seen_of(up, "bad").detail,
            "rubbish": lambda: True,
        }
        statuses: list[int] = []
        body = json.dumps({"model": "echo", "messages": MESSAGES})
        async with asyncio.timeout(PATIENCE_S):
            while len(statuses) < ENOUGH or not happened[behaviour]():
                async with http.post(f"{up.address}/v1/chat/completions", data=body) as answer:
                    statuses.append(answer.status)
                await asyncio.sleep(0.05)
        assert set(statuses) == {200}


def seen_of(up: Running, name: str) -> DeploymentStatus:
    return next(status for status in up.system.fleet.statuses() if status.name == name)

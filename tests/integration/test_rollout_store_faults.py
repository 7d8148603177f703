"""The store is locked, full or gone during rollouts, the clock jumps, declarations change: requests and rollouts go on."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from tests.support import postgres
from tests.support.callers import PATIENCE_S, Callers
from tests.support.postgres import keep_in
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.apply import apply
from changeover.app.deploy import declared_variant
from changeover.app.installation import Installation, read_again
from changeover.core.actors import SYSTEM
from changeover.core.clock import SystemClock
from changeover.rollouts.actions import plan_of
from changeover.rollouts.decide import Rollout, Step
from changeover.store.engine import BUSY_TIMEOUT_MS

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("locked", "full", "gone", "back", "forward", "edited", "deleted")
SHORT = (Step(canary=0.5, requests=3, hold_s=0), Step(canary=0.6, requests=4, hold_s=0))
THIRTY = tuple(f"task-{number:02}" for number in range(30))
LITTLE = 160 << 10
"""Bytes that a file may have where the disk is full: less than the store has, more than anything else that is written."""


class MovedClock(SystemClock):
    """A machine's clock that somebody sets."""

    moved = timedelta(0)

    def now(self) -> datetime:  # pyright: ignore[reportIncompatibleVariableOverride] - a method here too
        return SystemClock.now() + self.moved


@asynccontextmanager
async def staged(directory: Path, clock: MovedClock | None = None) -> AsyncGenerator[Running]:
    installation = replace(open_written(directory), clock=clock or SystemClock())
    async with running(installation) as up:
        deploy_echo(installation, "new", task=next(iter(installation.tasks)))
        deploy_echo(installation, "bad", task=next(iter(installation.tasks)), fault="error_500")
        await up.ready("echo", "new", "bad", timeout_s=PATIENCE_S)
        yield up


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory, clock: MovedClock) -> AsyncGenerator[Running]:
    """One system with a task for each fault; each test leaves it as it was."""
    directory = tmp_path_factory.mktemp("store")
    project = write_project(directory / "p", (*NAMES, *THIRTY))
    async with staged(keep_in(project, f"sqlite:///{directory}/disk/state.db"), clock) as it:
        yield it


async def canary(callers: Callers, candidate: str = "new", *steps: Step) -> Rollout:
    installation = callers.up.installation
    plan = replace(plan_of(installation.tasks[callers.task].declared), steps=steps or SHORT)
    return await callers.begin(declared_variant(installation, callers.task, candidate), plan)


async def promoted(callers: Callers, rollout: Rollout) -> None:
    """It goes on to its promotion, with everything in its history once, and nobody saw anything."""
    await callers.ask_until(lambda: callers.state(rollout) == "baking")
    await callers.are_answered_by("new")
    callers.saw_no_error()
    events = callers.events(rollout)
    assert [event.action for event in events] == ["start", "advance", "promote"]
    assert [event.actor for event in events[1:]] == [SYSTEM, SYSTEM]
    assert [event.revision for event in reversed(events)] == [route.revision for route in callers.routes()][:3]


def file_of(installation: Installation) -> Path:
    database = installation.store.engine.url.database
    assert database is not None
    return Path(database)


async def test_a_store_that_somebody_locks_holds_a_rollout_up_and_no_request(up: Running) -> None:
    callers = Callers(up, "locked")
    rollout = await canary(callers)
    with sqlite3.connect(file_of(up.installation), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        async with callers.asking():
            await asyncio.sleep(BUSY_TIMEOUT_MS / 1000 + 1)
        assert callers.now(rollout) == rollout, "nothing can have been written"
        other.execute("ROLLBACK")
    other.close()
    callers.saw_no_error()
    await promoted(callers, rollout)


@contextmanager
def full_disk() -> Generator[None]:
    """No file of this process grows any more, whatever it is told."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_store_that_is_full_holds_a_rollout_up_and_no_request(up: Running) -> None:
    callers = Callers(up, "full")
    rollout = await canary(callers, "new", replace(SHORT[0], requests=20), SHORT[1])
    with full_disk():
        # What was recorded before waits, and nothing is decided by what is not written.
        await callers.ask_until(lambda: up.system.gateway.recorder.waiting > 30)
        assert callers.state(rollout) == "canary"
    callers.saw_no_error()
    await promoted(callers, rollout)


async def test_a_store_whose_disk_is_gone_for_a_while_holds_no_request_up(up: Running) -> None:
    callers = Callers(up, "gone")
    rollout = await canary(callers)
    # At once with its log: whoever connected between the two would find a database without it, and spoil both.
    disk = file_of(up.installation).parent
    away = disk.rename(disk.with_name("away"))
    async with callers.asking():
        await asyncio.sleep(1.0)
    away.rename(disk)
    callers.saw_no_error()
    await promoted(callers, rollout)


@pytest.mark.parametrize(("task", "days"), [("back", -1), ("forward", 1)])
async def test_a_clock_that_jumps_neither_blinds_the_guards_nor_stops_a_rollout(
    up: Running, clock: MovedClock, task: str, days: int
) -> None:
    callers = Callers(up, task)
    try:
        rollout = await canary(callers, "bad", replace(SHORT[0], requests=1_000))
        clock.moved = timedelta(days=days)
        await callers.ask_until(lambda: callers.state(rollout) == "rolled_back")
        await callers.are_answered_by("echo")
        rollout = await canary(callers)
        await callers.ask_until(lambda: callers.now(rollout).step == 1 or callers.state(rollout) == "baking")
        clock.moved = timedelta(0)
        await promoted(callers, rollout)
    finally:
        clock.moved = timedelta(0)


async def test_a_task_that_is_edited_goes_on_by_what_was_declared_when_the_rollout_began(up: Running) -> None:
    callers = Callers(up, "edited")
    rollout = await canary(callers)
    file = up.installation.tasks["edited"].file
    before = file.read_text()
    file.write_text(before.replace("requests = 3", "requests = 90").replace("timeout_s = 20", "timeout_s = 19"))
    assert apply(read_again(up.installation), "ana").committed
    await promoted(callers, rollout)
    assert callers.now(rollout).plan == rollout.plan


async def test_a_task_that_is_deleted_waits_with_its_rollout_until_it_comes_back(up: Running) -> None:
    callers = Callers(up, "deleted")
    rollout = await canary(callers)
    file = up.installation.tasks["deleted"].file
    aside = file.rename(file.with_suffix(".aside"))
    apply(read_again(up.installation), "ana")
    await statuses_become(callers, 404)
    assert callers.now(rollout) == rollout
    aside.rename(file)
    apply(read_again(up.installation), "ana")
    await statuses_become(callers, 200)
    await promoted(callers, rollout)


async def statuses_become(callers: Callers, status: int) -> None:
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession(callers.up.address) as http:
        body = {"model": callers.task, "messages": [{"role": "user", "content": "hi"}]}
        found = 0
        while found != status:
            async with http.post("/v1/chat/completions", json=body, headers=callers.up.headers()) as response:
                found = response.status
            await asyncio.sleep(0.05)


async def test_thirty_rollouts_on_thirty_tasks_at_once_are_all_promoted(up: Running) -> None:
    every = [Callers(up, task) for task in THIRTY]
    begun = [await canary(callers) for callers in every]
    async with asyncio.timeout(2 * PATIENCE_S):
        while waiting := [
            callers for callers, rollout in zip(every, begun, strict=True) if callers.state(rollout) != "baking"
        ]:
            for callers in waiting:
                await callers.ask(4)
    for callers, rollout in zip(every, begun, strict=True):
        await promoted(callers, rollout)


async def test_a_database_server_that_stops_in_the_canary_holds_no_request_up(
    own_postgres: postgres.Server, tmp_path: Path
) -> None:
    directory = keep_in(write_project(tmp_path / "p", ("gone",)), own_postgres.fresh())
    async with staged(directory) as up:
        callers = Callers(up, "gone")
        rollout = await canary(callers)
        for end in (own_postgres.stop, own_postgres.kill):
            end()
            async with callers.asking():
                await asyncio.sleep(1.0)
            await asyncio.to_thread(own_postgres.start)
        await promoted(callers, rollout)

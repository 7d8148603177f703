"""A process that is exchanged for another one in the middle of traffic."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.asking import ask
from tests.support.processes import line_of

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError
from changeover.serving.backends import Attached, EchoBackend, Launch, Selection
from changeover.serving.keeper import Keeper, Surroundings, Timing
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.supervisor import DeploymentStatus, Supervisor
from changeover.serving.upstream import make_client

TIMING = Timing(stop_grace_s=0.5)


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    client = make_client("wire")
    around = Surroundings(
        clock=SystemClock(),
        client=client,
        log_dir=tmp_path,
        environment={},
        timing=TIMING,
        on_change=lambda status: None,
        sockets=None,
        leave=left_at_once,
    )
    keeper = Keeper(plan(), EchoBackend(), around)
    await keeper.wait_ready()
    yield keeper
    await keeper.stop()
    await client.close()


async def left_at_once(name: str) -> None:
    """Nobody else asks."""


def plan(reply: str = "echo", delay_s: float = 0.0) -> EnginePlan:
    return EnginePlan(deployment="d", backend="echo", model="m", options={"reply": reply, "delay_s": delay_s})


def launch(reply: str, delay_s: float = 0.0) -> Launch:
    return EchoBackend().launch(plan(reply, delay_s))


def slow(reply: str, ready_delay_s: float) -> Launch:
    options = {"reply": reply, "ready_delay_s": ready_delay_s}
    return EchoBackend().launch(EnginePlan(deployment="d", backend="echo", model="m", options=options))


async def said(keeper: Keeper) -> str:
    assert keeper.upstream is not None
    return await ask(keeper.upstream, "hello")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_no_request_fails_while_the_process_is_exchanged_for_another(keeper: Keeper) -> None:
    answers: list[str] = []
    done = asyncio.Event()

    async def caller() -> None:
        while not done.is_set():
            answers.append(await said(keeper))

    callers = [asyncio.create_task(caller()) for _ in range(4)]
    pid = keeper.status().pid
    await keeper.exchange(launch("second"))
    await keeper.exchange(launch("third"))
    await until(lambda: answers[-1] == "third")
    done.set()
    await asyncio.gather(*callers)

    assert {*answers} == {"hello", "second", "third"}
    assert (keeper.state, keeper.status().restarts) == ("ready", 0)
    assert pid is not None
    await until(lambda: not psutil.pid_exists(pid))


async def test_the_old_process_ends_its_answers_first(keeper: Keeper) -> None:
    await keeper.exchange(launch("slow", delay_s=1.0))
    old = keeper.status().pid
    assert old is not None
    request = asyncio.create_task(said(keeper))
    await until(lambda: keeper.in_flight == 1)

    await keeper.exchange(launch("quick"))
    assert await said(keeper) == "quick"
    assert psutil.pid_exists(old)
    assert await request == "slow"
    await until(lambda: not psutil.pid_exists(old))


async def test_one_that_does_not_come_up_changes_nothing(keeper: Keeper) -> None:
    pid = keeper.status().pid
    broken = Launch(argv=(sys.executable, "-c", "raise SystemExit('no such weights')"), config={})
    with pytest.raises(EngineError, match="no such weights"):
        await keeper.exchange(broken)
    assert (keeper.status().pid, await said(keeper)) == (pid, "hello")


async def test_what_took_over_is_what_is_started_again(keeper: Keeper) -> None:
    await keeper.exchange(launch("second"))
    pid = keeper.status().pid
    assert pid is not None
    psutil.Process(pid).kill()
    await until(lambda: keeper.status().restarts == 1 and keeper.upstream is not None)
    assert await said(keeper) == "second"


async def test_one_that_died_meanwhile_is_followed_all_the_same(keeper: Keeper) -> None:
    pid = keeper.status().pid
    assert pid is not None
    replacing = asyncio.create_task(keeper.exchange(slow("second", ready_delay_s=1.5)))
    await until(lambda: len(_engines(psutil.Process())) == 2)
    psutil.Process(pid).kill()
    await until(lambda: keeper.upstream is None)
    await replacing
    assert await said(keeper) == "second"


async def test_one_that_is_to_stop_is_not_exchanged(keeper: Keeper) -> None:
    pid = keeper.status().pid
    await keeper.drain(0)
    with pytest.raises(EngineError, match="does not run"):
        await keeper.exchange(launch("second"))
    assert keeper.status().pid == pid


async def test_one_that_is_stopped_while_it_is_unloaded_answers_its_last_requests(keeper: Keeper) -> None:
    await keeper.exchange(launch("slow", delay_s=1.0))
    asking = asyncio.create_task(said(keeper))
    await until(lambda: keeper.in_flight == 1)
    assert keeper.unload("nobody asked for it")
    await until(lambda: keeper.upstream is None)
    assert not keeper.unload("nobody asked for it"), "it is under way"
    await keeper.drain(20)
    await keeper.stop()
    assert await asking == "slow"


async def test_what_an_earlier_process_still_answers_counts_and_is_waited_for_before_it_sleeps(keeper: Keeper) -> None:
    await keeper.exchange(launch("slow", delay_s=1.0))
    asking = asyncio.create_task(said(keeper))
    await until(lambda: keeper.in_flight == 1)
    await keeper.exchange(launch("second"))
    assert (keeper.in_flight, keeper.unused_s()) == (1, 0)
    assert keeper.unload("nobody asked for it")
    await until(lambda: not keeper.loaded)
    assert asking.done(), "it holds memory as long as it answers"
    assert await asking == "slow"


async def test_stopping_leaves_neither_of_two_processes(keeper: Keeper) -> None:
    replacing = asyncio.create_task(keeper.exchange(slow("second", ready_delay_s=30.0)))
    here = psutil.Process()
    await until(lambda: len(_engines(here)) == 2)
    await keeper.stop()
    with pytest.raises(EngineError, match="it is stopped"):
        await replacing
    assert not _engines(here)


def _engines(here: psutil.Process) -> list[psutil.Process]:
    return [each for each in here.children() if "changeover.serving.engines.echo" in line_of(each)]


async def test_where_memory_does_not_hold_both_the_old_one_ends_before_the_new_one_starts(keeper: Keeper) -> None:
    await keeper.exchange(launch("slow", delay_s=0.5))
    old = keeper.status().pid
    assert old is not None
    request = asyncio.create_task(said(keeper))
    await until(lambda: keeper.in_flight == 1)

    exchanging = asyncio.create_task(keeper.exchange(slow("quick", 0.3), beside=False))
    await until(lambda: keeper.upstream is None)
    assert psutil.pid_exists(old), "it answers its last request"
    assert keeper.asleep, "who asks now waits, as for one that wakes"
    assert await request == "slow"
    await until(lambda: keeper.status().pid not in (old, None))
    assert not psutil.pid_exists(old)
    await exchanging
    assert await said(keeper) == "quick"
    assert (keeper.state, keeper.status().restarts, keeper.asleep) == ("ready", 0, False)


async def test_one_that_does_not_come_up_in_its_place_is_followed_by_what_ran_before(keeper: Keeper) -> None:
    broken = Launch(argv=(sys.executable, "-c", "raise SystemExit('no such adapter')"), config={})
    with pytest.raises(EngineError, match="no such adapter"):
        await keeper.exchange(broken, beside=False)
    assert keeper.asleep
    await keeper.wait_ready()
    assert (await said(keeper), keeper.status().restarts) == ("hello", 0)


class Holding(EchoBackend):
    """An engine that reads adapters when it starts, and holds weights of its own in every process."""

    def launch(self, plan: EnginePlan) -> Launch:
        chosen = {each: Selection(model=each.deployment) for each in plan.adapters}
        if any(each.deployment == "wrong" for each in plan.adapters):
            return Launch(
                argv=(sys.executable, "-c", "raise SystemExit('no such adapter')"), config={}, adapters=chosen
            )
        return replace(super().launch(replace(plan, adapters=())), adapters=chosen)


class Riding(EchoBackend):
    """An adapter on it, of a file that nobody reads."""

    def launch(self, plan: EnginePlan) -> Attached:  # pyright: ignore[reportIncompatibleMethodOverride] - shares a process
        return Attached(base="d", adapter=Adapter.of(plan))


@pytest.mark.parametrize("room", [True, False])
async def test_an_adapter_joins_an_engine_beside_it_only_where_memory_holds_its_weights_twice(
    tmp_path: Path, room: bool
) -> None:
    asked: list[tuple[str, bool]] = []
    alone: list[bool] = []

    def has_room(name: str, held: int) -> bool:
        asked.append((name, held > 0))
        return room

    def note(status: DeploymentStatus) -> None:
        if status.name == "d":
            alone.append(supervisor.upstream("d") is None)

    supervisor = Supervisor(
        SystemClock(),
        tmp_path,
        note,
        backends={"echo": Holding(), "adapter": Riding()},
        timing=TIMING,
        client="wire",
    )
    supervisor.has_room = has_room

    async def join(name: str) -> None:
        options = {"base": "d"}
        file = tmp_path / "adapter.gguf"
        await supervisor.ensure(
            EnginePlan(deployment=name, backend="adapter", model="t", artifact=file, options=options)
        )
        await supervisor.wait_ready(name, 60)

    try:
        await supervisor.ensure(plan())
        await supervisor.wait_ready("d", 60)
        alone.clear()
        await join("tuned")
        assert (asked, any(alone)) == ([("d", True)], not room)
        assert supervisor.status("d").restarts == 0
        with pytest.raises(EngineError, match="`wrong` is failed: `d` cannot hold it"):
            await join("wrong")
        await supervisor.wait_ready("tuned", 60)
        assert supervisor.status("d").restarts == 0
    finally:
        await supervisor.close()

"""The line of those who wait for an engine. The clock is the test's own."""

from __future__ import annotations

import asyncio

import pytest

from changeover.core.clock import SystemClock
from changeover.core.errors import NotReadyError
from changeover.gateway.waiting import Line, Outlook


class Clock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] - the system's are attributes
        return self.at


class World:
    """What all in line see."""

    def __init__(self, *, most: int = 8, ready_wait_s: float = 1) -> None:
        self.clock = Clock()
        self.outlook: Outlook = "coming"
        self.line = Line(most, ready_wait_s, self.clock)
        self.let_go: list[int] = []

    async def enter(self, number: int, until: float = 1000.0) -> asyncio.Task[None]:
        async def wait() -> None:
            await self.line.wait("task", lambda: self.outlook, until)
            self.let_go.append(number)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)  # it stands in line then
        return task

    async def some_turns(self) -> None:
        await asyncio.sleep(0.1)


async def test_all_are_let_go_in_the_order_in_which_they_came() -> None:
    world = World()
    waiting = [await world.enter(number) for number in range(5)]
    await world.some_turns()
    assert (len(world.line), world.let_go) == (5, [])
    world.outlook = "ready"
    await asyncio.gather(*waiting)
    assert world.let_go == [0, 1, 2, 3, 4]
    assert len(world.line) == 0


async def test_one_too_many_is_told_when_to_come_back() -> None:
    world = World(most=2)
    waiting = [await world.enter(number) for number in range(3)]
    await world.some_turns()
    with pytest.raises(NotReadyError, match="2 requests wait for an engine already") as refused:
        await waiting[2]
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    world.outlook = "ready"
    await asyncio.gather(*waiting[:2])


async def test_while_an_engine_is_coming_each_waits_until_its_own_deadline() -> None:
    world = World()
    short, long = await world.enter(0, until=110), await world.enter(1, until=200)
    world.clock.at = 109.9
    await world.some_turns()
    assert not short.done()
    world.clock.at = 110
    with pytest.raises(NotReadyError, match="is being exchanged or loaded, and was not ready within the time"):
        await short
    assert not long.done()
    world.outlook = "ready"
    await long


async def test_without_an_engine_on_its_way_the_settings_say_for_how_long() -> None:
    world = World(ready_wait_s=2)
    world.outlook = "absent"
    waiting = await world.enter(0)
    world.clock.at += 1.9
    await world.some_turns()
    assert not waiting.done()
    world.clock.at += 0.2
    with pytest.raises(NotReadyError, match="No model is ready to answer `task` yet"):
        await waiting


async def test_an_engine_that_failed_leaves_time_for_the_former_one_to_be_called_back() -> None:
    world = World(ready_wait_s=2)
    waiting = await world.enter(0)
    world.clock.at += 50
    await world.some_turns()
    world.outlook = "absent"
    world.clock.at += 1.5
    await world.some_turns()
    assert not waiting.done()
    world.outlook = "coming"
    await world.some_turns()
    world.clock.at += 50
    world.outlook = "ready"
    await waiting


async def test_who_leaves_stands_in_line_no_more() -> None:
    world = World()
    waiting = await world.enter(0)
    await world.some_turns()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(world.line) == 0
    await world.some_turns()
    again = await world.enter(1)
    world.outlook = "ready"
    await again


async def test_a_look_that_fails_ends_that_request_and_no_other() -> None:
    world = World()

    def broken() -> Outlook:
        raise KeyError("variant")

    failing = asyncio.create_task(world.line.wait("task", broken, 1000.0))
    other = await world.enter(1)
    with pytest.raises(KeyError):
        await asyncio.wait_for(failing, 1)
    world.outlook = "ready"
    await asyncio.wait_for(other, 1)
    assert world.let_go == [1]

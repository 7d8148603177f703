"""A run that somebody ends, or that is cancelled: what is under way is given up, and what was opened is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from changeover.evals.stopping import Stop, Stopped, until


class Items:
    """Numbers from 0 on, of which the one after the last never comes."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.waits = asyncio.Event()
        self.closed = False

    async def come(self) -> AsyncGenerator[int]:
        try:
            for number in range(self.last + 1):
                yield number
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed = True


async def taken(items: Items, stop: Stop, into: list[int]) -> None:
    come = items.come()
    async with aclosing(come), aclosing(until(come, stop)) as coming:
        async for item in coming:
            into.append(item)  # noqa: PERF401 - what came before it was ended is looked at


async def test_who_ends_a_run_ends_it_while_it_waits_and_what_came_before_is_kept() -> None:
    items, stop, came = Items(2), Stop(), list[int]()
    run = asyncio.create_task(taken(items, stop, came))
    await items.waits.wait()
    await asyncio.to_thread(stop.say, "ana stopped it")
    stop.say("somebody else did")
    with pytest.raises(Stopped, match="ana stopped it"):
        await run
    assert (came, items.closed) == ([0, 1, 2], True)


async def test_a_run_that_is_cancelled_ends_as_cancelled_and_leaves_nothing_open() -> None:
    items, came = Items(1), list[int]()
    run = asyncio.create_task(taken(items, Stop(), came))
    await items.waits.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (came, items.closed) == ([0, 1], True)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing goes on"

"""Doing several things at once: together, or a few at a time and given in order. What was paid for is waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from changeover.evals.budget import BudgetSpent

SETTLING = 8
"""Turns of the loop that it takes to give what is kept already."""

Item = TypeVar("Item")
Result = TypeVar("Result")


async def together(*work: Coroutine[Any, Any, Result]) -> list[Result]:
    """Do several things at once.

    If one fails the others are stopped; if the budget is spent, calls under way are paid for, and are waited for.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BudgetSpent:
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    except BaseException:
        await stop(tasks)
        raise


async def in_order(
    items: Sequence[Item], work: Callable[[Item], Coroutine[Any, Any, Result]], at_once: int
) -> AsyncGenerator[Result]:
    """Work on a few items at once and give the results in the items' order. Leaving early stops the rest.

    Where the budget is spent, what is under way is waited for: it is paid for, and kept.
    """
    waiting = iter(items)
    running: deque[asyncio.Task[Result]] = deque()
    try:
        while True:
            if len(running) < at_once and (item := next(waiting, None)) is not None:
                running.append(asyncio.create_task(work(item)))
                # Only the first in the row may be there already; behind one that is asked for, more are begun.
                if not (await _settled(running[0]) if len(running) == 1 else running[0].done()):
                    continue
            if not running:
                return
            yield await running[0]
            running.popleft()
    except BudgetSpent:
        await asyncio.gather(*running, return_exceptions=True)
        raise
    finally:
        await stop(running)


async def _settled(task: asyncio.Task[Any]) -> bool:
    """Whether a task ends without waiting for anything outside: then nothing after it need be begun yet."""
    for _ in range(SETTLING):
        if task.done():
            return True
        await asyncio.sleep(0)
    return task.done()


async def stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

"""Work in threads that is not left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result], pool: Executor | None = None) -> Result:
    """Run blocking work in a thread; who is cancelled meanwhile waits for its end.

    A thread cannot be stopped: one that is left alone goes on with a store that is closed under its hands.

    Args:
        work: What to do.
        pool: Threads of their own for what computes for long; None: those that everybody waits for.
    """
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(pool, partial(copy_context().run, work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody asks for it any more
        raise

"""Loops that run beside the main work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(
    loops: Sequence[Coroutine[Any, Any, None]], on_failure: Callable[[], None]
) -> AsyncGenerator[None]:
    """Run loops beside the block. One that ends with an exception stops the system: it must not limp on unseen."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else on_failure())
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result

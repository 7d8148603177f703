"""The loop that takes jobs: it ends when it is told to, whatever comes in at that moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from tests.support import stores

from changeover.core.clock import SystemClock
from changeover.core.settings import JobSettings
from changeover.tools.declarations import Tools
from changeover.tools.jobs import Jobs


class _Idle:
    under_way = 0


async def test_a_job_that_comes_in_while_the_gateway_stops_does_not_keep_it(tmp_path: Path) -> None:
    store = stores.made(f"sqlite:///{tmp_path / 'test.db'}")
    jobs = Jobs(
        store=store,
        clock=SystemClock(),
        settings=JobSettings(),
        runs=cast("Any", _Idle()),
        tools=Tools,
        keys=cast("Any", lambda id: None),
    )
    running = asyncio.create_task(jobs.run())
    while not jobs._wanted._waiters:  # it waits for something to do
        await asyncio.sleep(0.01)
    jobs._wanted.set()
    running.cancel()
    await asyncio.wait([running], timeout=5)
    ended = running.done()
    running.cancel()
    await asyncio.wait([running])
    store.close()
    assert ended

"""Jobs of a gateway whose store is gone for a while, so that its own leases are over, or that is held up for so long itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import update
from tests.support import stores
from tests.support.tools import write_tool

from changeover.core.clock import SystemClock
from changeover.core.settings import JobSettings
from changeover.gateway.keys import Key
from changeover.store.engine import Store
from changeover.store.schema import tool_jobs
from changeover.tools import jobs as jobs_module
from changeover.tools.declarations import Tool, Tools
from changeover.tools.jobs import LEASE_S, MOST_ATTEMPTS, Jobs
from changeover.tools.runs import Asked

KEY = Key(id="key_1", name="app", role="application")
SAYS = """\
[inputs.text]
type = "text"
[[steps]]
name = "said"
do = "render"
template = "said.md"
[output]
value = { text = "said" }
text = "said"
schema_file = "out.json"
[example]
text = "one"
"""


class LaterClock(SystemClock):
    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class Endless:
    """Runs that begin, and do not end."""

    begun: list[str] = field(default_factory=list)
    under_way: int = 0

    async def run(self, asked: Asked) -> Any:
        self.begun.append(asked.id)
        await asyncio.Event().wait()


@dataclass
class Keys:
    async def find(self, id: str) -> Key:
        return KEY


@dataclass
class Stage:
    store: Store
    clock: LaterClock
    runs: Endless
    jobs: Jobs
    tool: Tool

    def files_are(self, name: str) -> None:
        """Give the table of files another name, and nobody finds it; or its own."""
        was = "tool_job_files" if name != "tool_job_files" else "elsewhere"
        with self.store.append() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {was} RENAME TO {name}")

    async def begun(self) -> str:
        """A job that runs, and whose lease is over."""
        job = await self.jobs.submit(self.tool, {"text": "one"}, KEY)
        await self.jobs._take()
        while not self.runs.begun:
            await asyncio.sleep(0)
        self.clock.ahead = timedelta(seconds=LEASE_S + 1)
        return job.id


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    store = stores.made(f"sqlite:///{tmp_path / 'test.db'}")
    tool = write_tool(tmp_path / "tools", SAYS, said__md="{{ text }}")
    tools, clock, runs = Tools(), LaterClock(), Endless()
    tools[tool.name] = tool
    jobs = Jobs(
        store=store,
        clock=clock,
        settings=JobSettings(),
        runs=cast("Any", runs),
        tools=lambda: tools,
        keys=cast("Any", Keys()),
    )
    yield Stage(store, clock, runs, jobs, tool)
    await jobs._leave()
    store.close()


async def test_a_gateway_does_not_take_a_job_for_lost_that_it_runs_itself(stage: Stage) -> None:
    id = await stage.begun()
    await stage.jobs._take()
    assert (await stage.jobs.find(id, KEY)).attempts == 1


async def test_a_gateway_does_not_give_up_a_job_that_it_runs_itself(stage: Stage) -> None:
    id = await stage.begun()
    with stage.store.append() as connection:
        connection.execute(update(tool_jobs).values(attempts=MOST_ATTEMPTS))
    await stage.jobs._take()
    assert (await stage.jobs.find(id, KEY)).state == "running"


async def test_a_job_that_begins_while_the_store_is_gone_waits_for_it_and_does_not_fail(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs_module, "RENEW_S", 0.01)
    job = await stage.jobs.submit(stage.tool, {"text": "one"}, KEY)
    stage.files_are("elsewhere")
    await stage.jobs._take()
    async with asyncio.timeout(20):
        while "waits for the store" not in caplog.text:
            await asyncio.sleep(0.001)
        stage.files_are("tool_job_files")
        while not stage.runs.begun:
            await asyncio.sleep(0.001)
    assert (await stage.jobs.find(job.id, KEY)).state == "running"

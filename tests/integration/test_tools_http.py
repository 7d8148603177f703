"""Tools over HTTP: real sockets, real readers, the echo engine behind the tasks."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tools import Caller, calling, write_tool


@pytest.fixture
async def up(tmp_path: Path) -> AsyncGenerator[Running]:
    project = write_project(tmp_path / "p")
    write_tool(project)
    async with running(open_written(project)) as it:
        await it.ready("echo")
        yield it


@pytest.fixture
async def caller(up: Running) -> AsyncGenerator[Caller]:
    async with calling(up) as it:
        yield it


async def test_a_tool_runs_and_says_who_answered(caller: Caller) -> None:
    status, said = await caller.run(text="one\ntwo")
    assert status == 200, said
    assert said["value"] == {"text": "one two", "lines": 2, "notes": "", "papers": 0}

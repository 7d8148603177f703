"""`changeover apply` beside a running gateway: what it says is applied can be used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from tests.support.projects import open_written, running, write_project

from changeover.app.local import announced
from changeover.cli.apply import apply

TOOL = """\
title = "Echo"
description = "Says it again."
group = "Our own"
record = "full"

[inputs.text]
type = "text"

[[steps]]
name = "said"
do = "call"
task = "echo"
give = { text = "text" }

[output]
value = { said = "said" }
text = "said"
schema_file = "output.schema.json"

[example]
text = "Hello"
"""


async def test_a_tool_can_be_used_as_soon_as_it_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write_project(tmp_path / "p")
    monkeypatch.chdir(project)
    async with running(open_written(project)) as up:
        with announced(project / ".changeover", up.address):
            for name in ("first", "second"):
                folder = project / "tools" / name
                folder.mkdir(parents=True)
                (folder / "tool.toml").write_text(TOOL)
                (folder / "output.schema.json").write_text('{"type": "object"}')
                await asyncio.to_thread(apply, check=False, as_json=True)
                async with (
                    aiohttp.ClientSession(up.address, headers=up.headers()) as http,
                    http.get(f"/v1/tools/{name}") as response,
                ):
                    assert response.status == 200, await response.text()

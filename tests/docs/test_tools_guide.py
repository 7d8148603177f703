"""The guide to tools over HTTP: its blocks run as they stand, against the tool that ships."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.support.pages import blocks_of
from tests.support.projects import open_written, running, write_project

import changeover.tools
from changeover.core.settings import GatewaySettings

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "tools-over-http.md"
BLOCKS = [block.text for block in blocks_of(PAGE)]
SHIPPED = Path(changeover.tools.__file__).parent / "shipped" / "document-summary"


async def test_every_block_of_the_guide_is_answered(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None or shutil.which("curl") is None:
        pytest.skip("neither tried nor proven: no curl or no bash here")
    project = write_project(tmp_path / "p")
    folder = shutil.copytree(SHIPPED, project / "tools" / SHIPPED.name)
    for task in folder.glob("tasks/*.toml"):
        task.write_text(
            re.sub(r'^first_incumbent = ".*"', 'first_incumbent = "echo"', task.read_text(), flags=re.MULTILINE)
        )
    (tmp_path / "report.md").write_text("# Ferries\n\nThe ferry of 7:40 was cancelled. The next one runs at 9:10.\n")
    environment = {"PATH": os.environ["PATH"]}
    said: list[str] = []
    async with running(open_written(project)) as up:
        await up.ready("echo")
        environment["CHANGEOVER_KEY"] = up.key
        for block in BLOCKS:
            text = block.replace(f"http://{GatewaySettings().host}:{GatewaySettings().port}", up.address)
            assert text != block
            process = await asyncio.create_subprocess_exec(
                *(bash, "-euo", "pipefail", "-c", text),
                cwd=tmp_path,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert process.returncode == 0, block
            said.append(out.decode())
            if '"tool.job"' in said[-1] and "JOB" not in environment:
                environment["JOB"] = json.loads(said[-1])["id"]
    listed, tool, form, sent, stream, _, job = said
    assert [each["name"] for each in json.loads(listed)["data"]] == ["document-summary"]
    assert json.loads(tool)["example"]["document"]["name"] == "example.pdf"
    assert "7:40" in json.loads(form)["value"]["summary"]
    assert json.loads(sent)["value"] == json.loads(form)["value"]
    assert stream.splitlines()[-2].startswith("data: ")
    assert "event: result" in stream
    assert "event: result" in job
    assert "tool.job.deleted" in job

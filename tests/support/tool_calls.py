"""Small real tools on the echo engine, and what is asked of them over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.projects import Running

TOOL = """\
title = "Say it again"
description = "Says each line of a text again, and joins what was said."
group = "Tests"
record = "{record}"
{more}
[inputs.text]
type = "text"
description = "What to say."
max_chars = 20000
[inputs.notes]
type = "document"
required = false
max_mib = {max_mib}
[inputs.papers]
type = "documents"
required = false
[inputs.times]
type = "number"
default = 1
minimum = 1
maximum = 9
[[steps]]
name = "read"
do = "extract"
file = "notes"
when = "notes"
[[steps]]
name = "said"
do = "map"
over = "text.splitlines()"
each = "line"
task = "say"
give = {{ text = "line" }}
at_once = {at_once}
[[steps]]
name = "whole"
do = "call"
task = "say"
give = {{ text = "said | join(' ')" }}
[output]
value = {{ text = "whole", lines = "said | length", notes = "read.text if read else ''", papers = "papers | length" }}
text = "whole"
schema_file = "output.schema.json"
{tables}
[example]
text = "one"
"""
TASK = """\
description = "Says it again."
prompt = "say.prompt.md"
dataset = "say.jsonl"
first_incumbent = "echo"
timeout_s = {timeout_s}
record = "{record}"
[echo]
{echo}
[scorer]
name = "contains"
[gate]
margin = 0.05
max_samples = 60
"""
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["text", "lines"],
    "properties": {"text": {"type": "string", "maxLength": 100000}, "lines": {"type": "integer"}},
}


def write_tool(
    project: Path,
    name: str = "say",
    *,
    more: str = "",
    tables: str = "",
    echo: str = "",
    at_once: int = 1,
    max_mib: float = 5,
    timeout_s: float = 20,
    record: str = "full",
) -> Path:
    """Write a tool that asks its task `NAME.say` once for each line of a text and once for the whole; gives its folder.

    Args:
        project: As `write_project` wrote it.
        name: Of the tool.
        more: Keys of `tool.toml`, such as `timeout_s = 5`.
        tables: Tables of `tool.toml`, such as `[access]` with what is in it.
        echo: Options of the engine that answers: `delay_s = 0.1`.
        at_once: Lines that are asked about at once.
        max_mib: Of its document.
        timeout_s: Of the task.
        record: Of the task.
    """
    folder = project / "tools" / name
    (folder / "tasks").mkdir(parents=True)
    text = TOOL.format(record=record, more=more, tables=tables, at_once=at_once, max_mib=max_mib)
    (folder / "tool.toml").write_text(text)
    (folder / "output.schema.json").write_text(json.dumps(SCHEMA))
    task = TASK.format(timeout_s=timeout_s, record=record, echo=echo)
    (folder / "tasks" / "say.toml").write_text(task)
    (folder / "tasks" / "say.prompt.md").write_text("Say it again.\n")
    samples = [{"id": f"s{n}", "input": f"sample {n}: please say ok", "target": "ok"} for n in range(60)]
    (folder / "tasks" / "say.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return folder


@asynccontextmanager
async def calling(up: Running, key: str | None = None) -> AsyncGenerator[Caller]:
    """A caller of tools, for the length of the block."""
    async with aiohttp.ClientSession(up.address, timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Caller(http, up.headers(key))


class Caller:
    """An application that uses tools."""

    def __init__(self, http: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
        self.http = http
        self.headers = {"authorization": headers["authorization"]}

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        async with self.http.request(method, path, **self._with_key(more)) as response:
            said = await response.read()
            return response.status, json.loads(said)

    def _with_key(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {**more, "headers": {**self.headers, **more.get("headers", {})}}

    async def run(self, tool: str = "say", *, query: str = "", **inputs: Any) -> tuple[int, Any]:
        return await self.ask("POST", f"/v1/tools/{tool}{query}", json={"inputs": inputs})

    async def submit(self, tool: str = "say", **inputs: Any) -> str:
        """Id of a job that was taken in."""
        status, job = await self.run(tool, query="?as=job", **inputs)
        assert status == 202, job
        return job["id"]

    async def job(self, id: str) -> Any:
        return (await self.ask("GET", f"/v1/jobs/{id}"))[1]

    async def until(self, id: str, *states: str) -> Any:
        """Wait until a job is in one of some states; gives it."""
        async with asyncio.timeout(30):
            while (job := await self.job(id)).get("state") not in states:
                await asyncio.sleep(0.02)
        return job

    async def events(self, method: str, path: str, **more: Any) -> list[tuple[str, Any]]:
        """Name and value of each event of a stream, to its end."""
        async with self.http.request(method, path, **self._with_key(more)) as response:
            said = (await response.read()).decode()
            assert response.status == 200, said
            assert response.headers["content-type"].startswith("text/event-stream")
        return [event_of(block) for block in said.split("\n\n") if block and not block.startswith(":")]


def event_of(block: str) -> tuple[str, Any]:
    name, data = block.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

"""Small real projects on the echo engine, and the whole system running over real sockets: for tests and benchmarks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import stores

from changeover.app.create import create_installation
from changeover.app.deploy import declared_variant, deploy
from changeover.app.installation import Installation
from changeover.app.listening import listen
from changeover.app.local import operator_key
from changeover.app.prepare import first_keys as make_first_keys
from changeover.app.prepare import prepare
from changeover.app.system import System
from changeover.core.settings import open_project
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant

QUICK_STEPS = "[[steps]]\ncanary = 0.2\nrequests = 3\nhold_s = 0\n[[steps]]\ncanary = 0.5\nrequests = 5\nhold_s = 0\n"

TASK = """\
description = "Says it again."
prompt = "echo.prompt.md"
dataset = "../evals/echo.jsonl"
first_incumbent = "echo"
timeout_s = {timeout_s}
record = "{record}"
bake_s = {bake_s}
[parameters]
temperature = 0.0
[scorer]
name = "contains"
[gate]
margin = 0.05
max_samples = 60
{steps}
"""


def write_project(
    directory: Path,
    tasks: Sequence[str] = ("echo",),
    *,
    timeout_s: float = 20,
    record: str = "full",
    bake_s: float = 300,
    steps: str = QUICK_STEPS,
    gateway: str = "ready_wait_s = 5",
) -> Path:
    """Write a project whose tasks are answered by the echo engine; 60 samples whose target is `ok`."""
    (directory / "tasks").mkdir(parents=True)
    (directory / "evals").mkdir()
    (directory / "changeover.toml").write_text(f'name = "test"\n[gateway]\nport = 0\n{gateway}\n')
    (directory / "tasks" / "echo.prompt.md").write_text("Say it again.\n")
    for task in tasks:
        text = TASK.format(timeout_s=timeout_s, record=record, bake_s=bake_s, steps=steps)
        (directory / "tasks" / f"{task}.toml").write_text(text)
    samples = [{"id": f"s{n}", "input": f"sample {n}: please say ok", "target": "ok"} for n in range(60)]
    (directory / "evals" / "echo.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return directory


def open_written(directory: Path) -> Installation:
    """Open a project as `changeover up` does, up to where it would start to run."""
    project = open_project(directory)
    stores.lay(project.store_url)
    installation = create_installation(project)
    prepare(installation)
    return installation


def deploy_echo(installation: Installation, name: str, task: str = "echo", **options: Any) -> Variant:
    """Ask for another echo engine, and write its variant for a task."""
    deploy(installation, EnginePlan(deployment=name, backend="echo", model=name, options=options), "test")
    variant = declared_variant(installation, task, name)
    with installation.store.write() as connection:
        return keep_variant(connection, variant, installation.clock.now())


@dataclass(frozen=True)
class Running:
    """The system, listening."""

    installation: Installation
    system: System
    address: str
    key: str
    """An application's."""
    operator: str

    def headers(self, key: str | None = None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"}

    async def ready(self, *names: str, timeout_s: float = 60) -> None:
        """Wait until deployments can answer."""
        async with asyncio.timeout(timeout_s):
            while not all(self.system.fleet.is_ready(name) for name in names):
                await asyncio.sleep(0.02)

    async def route(self, task: str = "echo") -> int:
        """The revision that the gateway answers with."""
        return self.system.snapshot.tasks[task].route.revision


@asynccontextmanager
async def running(
    installation: Installation, *, workers: int | None = None, key: str | None = None
) -> AsyncGenerator[Running]:
    """Run the whole system in this process, engines and workers as child processes, until the end of the block.

    Args:
        installation: Prepared.
        workers: Processes that answer, if not this one.
        key: An application's, of an earlier start: only the first one makes it.
    """
    key = make_first_keys(installation) or key
    assert key is not None, "a fresh project has no key yet"
    listener = listen("127.0.0.1", 0)
    system = System(installation, workers=workers)
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(system.serve(listener, listening.set_result))
    try:
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield Running(installation, system, listening.result(), key, operator_key(installation.project.state))
    finally:
        system.stop()
        await task
        listener.close()
        installation.store.close()

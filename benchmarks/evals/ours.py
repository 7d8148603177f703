"""Changeover on the same work: as its users run it, and put straight to the server as the peers are.

Store, resume, cost and the sequential test are on. The margin is so small that no verdict comes early: all is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.evals.process import Command
from benchmarks.evals.server import KEY
from benchmarks.evals.workload import AT_ONCE, MODELS, Workload
from changeover import __version__
from changeover.app.create import create_installation
from changeover.app.deploy import declared_variant, deploy
from changeover.app.local import OPERATOR_KEY_FILE, announced, write_private
from changeover.core.settings import open_project
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import note_state

TASK = "one-line"
CHANGEOVER = Path(sys.executable).with_name("changeover")
COMPARE = (str(CHANGEOVER), "compare", TASK, "--candidate", MODELS[1])
UNDECIDED = 3
"""Exit status of a comparison that came to its last sample."""

SETTINGS = """\
name = "bench"
[gateway]
port = 0
[evals]
at_once = {at_once}
[prices.{incumbent}]
usd_per_million_prompt_tokens = 0.1
usd_per_million_completion_tokens = 0.4
[prices.{candidate}]
usd_per_million_prompt_tokens = 0.1
usd_per_million_completion_tokens = 0.4
"""

DECLARATION = """\
description = "Does the answer contain a word."
prompt = "one-line.prompt.md"
dataset = "../evals/one-line.jsonl"
first_incumbent = "echo"
[parameters]
temperature = 0.0
[scorer]
name = "contains"
[gate]
margin = 0.0001
"""


def make_project(directory: Path, address: str) -> None:
    """Write a project in which one deployment answers the task and another may; both are at the server."""
    for name in ("tasks", "evals"):
        (directory / name).mkdir(parents=True)
    incumbent, candidate = MODELS
    settings = SETTINGS.format(at_once=AT_ONCE // 2, incumbent=incumbent, candidate=candidate)
    (directory / "changeover.toml").write_text(settings)
    (directory / "tasks" / f"{TASK}.toml").write_text(DECLARATION)
    (directory / "tasks" / f"{TASK}.prompt.md").write_text("")
    write_cases(Workload.make(1, 0), directory)
    installation = create_installation(open_project(directory))
    for model in MODELS:
        options = {"base_url": f"{address}/v1", "model": model, "api_key_env": "ECHO_API_KEY"}
        plan = EnginePlan(deployment=model, backend="openai", model=model, options=options)
        deploy(installation, plan, "benchmark")
        with installation.store.write() as connection:
            note_state(connection, model, state="ready", detail="", now=installation.clock.now())
    by = By(actor="benchmark", reason="first", now=installation.clock.now())
    variant = declared_variant(installation, TASK, incumbent)
    with installation.store.write() as connection:
        begin(connection, variant, by)
    installation.store.close()


def write_cases(workload: Workload, directory: Path) -> None:
    """Put a workload down as the task's dataset."""
    rows = [{"id": line.id, "input": line.text, "target": line.target} for line in workload.lines]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "evals" / f"{TASK}.jsonl").write_text(text)


@contextmanager
def gateway(directory: Path) -> Generator[psutil.Process]:
    """Run `changeover up` on the project."""
    with (directory / "up.log").open("w") as log:
        process = subprocess.Popen(
            (str(CHANGEOVER), "up", "--json", "--until-stdin-closes"),
            cwd=directory,
            env={**os.environ, "ECHO_API_KEY": KEY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise SystemExit(f"the gateway did not start:\n{(directory / 'up.log').read_text()}")
        yield psutil.Process(process.pid)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@dataclass(frozen=True)
class OurSession:
    """A project whose gateway runs; every workload becomes its task's dataset."""

    project: Path
    argv: Sequence[str]
    process: psutil.Process | None

    def write(self, workload: Workload, directory: Path) -> None:
        directory.mkdir(parents=True)
        write_cases(workload, self.project)

    def commands(self, directory: Path) -> Sequence[Command]:
        del directory
        environment = {"PYTHONDONTWRITEBYTECODE": ""}
        return [Command(argv=self.argv, cwd=self.project, environment=environment, expected=(UNDECIDED,))]

    def beside_cpu_s(self) -> float | None:
        if self.process is None:
            return None
        times = self.process.cpu_times()
        return times.user + times.system


@dataclass(frozen=True)
class ThroughGateway:
    """`changeover compare`, as its users run it: every call takes the path that serves traffic."""

    name: str = f"changeover {__version__}"
    caches: bool = True

    def install(self) -> None:
        pass

    def start_up(self, directory: Path) -> Command | None:
        argv = (str(CHANGEOVER), "compare", "--help")
        return Command(argv=argv, cwd=directory, environment={"PYTHONDONTWRITEBYTECODE": ""})

    @contextmanager
    def session(self, directory: Path, address: str) -> Generator[OurSession]:
        project = directory / "gateway"
        make_project(project, address)
        with gateway(project) as process:
            yield OurSession(project, COMPARE, process)


@dataclass(frozen=True)
class Direct:
    """The same command with the gateway left out: told that the server is the gateway, as every peer is.

    The gateway is the product's choice and not the evaluation's work; this row is like for like with the peers.
    """

    name: str = f"changeover {__version__}, without its gateway"
    caches: bool = True

    def install(self) -> None:
        pass

    def start_up(self, directory: Path) -> Command | None:
        del directory
        return None

    @contextmanager
    def session(self, directory: Path, address: str) -> Generator[OurSession]:
        project = directory / "direct"
        make_project(project, address)
        state = open_project(project).state
        write_private(state / OPERATOR_KEY_FILE, KEY)
        with announced(state, address):
            yield OurSession(project, COMPARE, None)


OURS = (ThroughGateway(), Direct())

"""The systems that are switched: a project on echo engines or on a real small model, running as `changeover up`."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Up, system
from tests.support.projects import write_project

import changeover
from changeover.app.deploy import declared_variant, deploy
from changeover.app.installation import Installation
from changeover.app.local import operator_key
from changeover.cli.running import wait_ready
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.rollouts.actions import By, plan_of, promote, roll_back, start
from changeover.serving.deployments import plan_for_card
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant

MODEL = "smollm2-135m-instruct"
REAL_TOKENS = 12
CANDIDATE = "candidate"
SHARE = 0.25
"""Of a canary that goes on until somebody ends it."""
STEPS = f"[[steps]]\ncanary = {SHARE}\nrequests = 1000000\nhold_s = 0\n"
CALM = "[guard]\ntolerated_failures = 0.5\ntolerated_slow = 0.99\n"
"""Noise of a busy machine must not take a good candidate out between two switches; the guards run all the same."""


@dataclass(frozen=True)
class Case:
    """One task to switch to and fro."""

    installation: Installation
    address: str
    key: str
    task: str
    workers: int
    candidate: Variant
    tokens: int | None = None

    @property
    def operator(self) -> str:
        return operator_key(self.installation.project.state)

    def promote(self) -> int:
        """Make the candidate the incumbent, in one transaction. Returns the revision."""
        by = self._by("switch")
        plan = plan_of(self.installation.tasks[self.task].declared)
        with self.installation.store.write() as connection:
            rollout = start(connection, self.candidate, plan, None, by)
            return promote(connection, rollout, None, by).revision

    def roll_back(self) -> int:
        """Bring the former incumbent back. Returns the revision."""
        with self.installation.store.write() as connection:
            return roll_back(connection, self.task, self._by("and back")).revision

    def start(self, candidate: Variant) -> int:
        """Begin a canary. Returns the rollout's id."""
        plan = plan_of(self.installation.tasks[self.task].declared)
        with self.installation.store.write() as connection:
            return start(connection, candidate, plan, None, self._by("canary")).id

    def _by(self, reason: str) -> By:
        return By(actor="benchmark", reason=reason, now=self.installation.clock.now())


@contextmanager
def echo_case(directory: Path, workers: int, *, options: Mapping[str, Any], guarded: bool = False) -> Generator[Case]:
    """Two echo engines of one kind, both loaded.

    Args:
        directory: Where the project is made.
        workers: Processes of the gateway.
        options: Of both engines.
        guarded: With the guards' own defaults, for candidates that shall be taken out.
    """
    write_project(
        directory,
        record="metadata",
        steps=STEPS + ("" if guarded else CALM) + _echo_table(options),
        gateway=f"workers = {workers}",
    )
    with _system(directory) as (installation, up):
        candidate = add_echo(installation, CANDIDATE, options)
        wait_ready(installation, ["echo-echo", CANDIDATE])
        yield Case(installation, up.address, up.key, "echo", workers, candidate)


def add_echo(installation: Installation, name: str, options: Mapping[str, Any]) -> Variant:
    """Deploy another echo engine, and give the variant that it makes."""
    deploy(installation, EnginePlan(deployment=name, backend="echo", model=name, options=options), "benchmark")
    return _kept(installation, "echo", name)


@contextmanager
def real_case(directory: Path, workers: int) -> Generator[Case]:
    """SmolLM2-135M twice in llama.cpp, as two bundles that differ in their context, both loaded."""
    template = Path(changeover.__file__).parent / "templates" / "project"
    for part in ("tasks/code.toml", "tasks/code.prompt.md", "evals/code/v1.jsonl"):
        (directory / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template / part, directory / part)
    task = directory / "tasks" / "code.toml"
    task.write_text(task.read_text() + CALM)
    (directory / "changeover.toml").write_text(
        f'name = "real"\n[gateway]\nport = 0\nworkers = {workers}\nready_wait_s = 60\n'
        "[engines]\nslots = 4\nthreads = 1\ncontext_tokens = 1024\n"
    )
    with _system(directory) as (installation, up):
        project = installation.project
        card, defaults = installation.catalogue.card(MODEL), project.settings.engines
        plan = plan_for_card(card, project.cache, defaults, name=CANDIDATE, options={"context_tokens": 1280})
        deploy(installation, plan, "benchmark")
        wait_ready(installation, [MODEL, CANDIDATE])
        yield Case(
            installation, up.address, up.key, "code", workers, _kept(installation, "code", CANDIDATE), REAL_TOKENS
        )


def weights_are_here() -> bool:
    """The real model can be run without fetching anything."""
    return present(Catalogue.load().card(MODEL).artifacts[0], cache_directory())


def _echo_table(options: Mapping[str, Any]) -> str:
    return "\n".join(["[echo]", *(f"{key} = {json.dumps(value)}" for key, value in options.items()), ""])


def _kept(installation: Installation, task: str, deployment: str) -> Variant:
    with installation.store.write() as connection:
        return keep_variant(connection, declared_variant(installation, task, deployment), installation.clock.now())


@contextmanager
def _system(directory: Path) -> Generator[tuple[Installation, Up]]:
    """Run `changeover up` on a project, and have the project open."""
    with system(directory) as up, up.opened() as installation:
        yield installation, up


def sleep_until(moment: float) -> None:
    """Wait for a moment of the monotonic clock."""
    time.sleep(max(moment - time.monotonic(), 0.0))

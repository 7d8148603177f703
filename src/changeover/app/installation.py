"""A project, opened: its declarations checked whole, its store at hand. The CLI and the running system start here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import cast

from changeover.core import toml
from changeover.core.clock import Clock, SystemClock
from changeover.core.errors import ChangeoverError, ConfigError, StoreError, nearest
from changeover.core.settings import Project
from changeover.evals.live import check_live
from changeover.evals.scorers import ScorerSpec
from changeover.library.catalogue import Catalogue
from changeover.library.licences.policy import Policy, load_policy
from changeover.serving.backends import Backend, backends_in
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName, EchoOptions
from changeover.store.engine import Store
from changeover.tasks.declarations import ScorerDeclaration, Task, Tasks, load_all_tasks
from changeover.tools.declarations import Tools

log = logging.getLogger(__name__)

ECHO = "echo"
"""Where a model is named: the engine without a model, for trying things out."""


@dataclass(frozen=True)
class Installation:
    """What every command works on."""

    project: Project
    store: Store
    catalogue: Catalogue
    tasks: Mapping[str, Task]
    clock: Clock
    policy: Policy | None
    """None: the project has none. A process that only answers reads none."""
    problems: tuple[ConfigError, ...] = ()
    """What is wrong with declarations. The tasks they are about are not among `tasks`, or are as they were applied."""
    tools: Tools = field(default_factory=Tools)
    only: frozenset[str] | None = None
    """Tasks of which whoever looks may see something; None: every one. See `app.discretion`."""

    @cached_property
    def homes(self) -> Homes:
        """Where the software of engines is, as the project says."""
        return homes_of(self.project)

    @cached_property
    def backends(self) -> Mapping[BackendName, Backend]:
        """Every kind of engine, whose software is where the project says."""
        return backends_in(self.homes)


def homes_of(project: Project) -> Homes:
    """Where the software of engines is, as a project says.

    Raises:
        ConfigError: It says so of an engine that there is not.
    """
    for name in project.settings.engines.homes:
        if name not in OPTIONS:
            raise ConfigError(f"changeover.toml: `engines.homes.{name}`: no such engine. {nearest(name, OPTIONS)}")
    return Homes(declared=project.settings.engines.homes, managed=project.engines)


def open_installation(project: Project) -> Installation:
    """Open a project that was started before: read all its declarations, and connect to its store.

    A broken task stops no other; see `Installation.problems`.

    Raises:
        ConfigError: A card or the policy is wrong; or a task is, and the project was never started.
        StoreError: The store cannot be used, was never made, or is of another version.
    """
    catalogue, tasks, tools = read_declarations(project)
    problems = problems_of(tasks, tools)
    if not project.state.is_dir():
        if problems:
            raise problems[0]
        raise StoreError(
            f"Project `{project.settings.name}` was never started, so it has no store yet. Start it once with "
            "`changeover up`; the store stays when it is stopped."
        )
    policy = load_policy(project.policy)
    return Installation(
        project, Store.open(project.store_url), catalogue, tasks, SystemClock(), policy, problems, tools
    )


def own_echo(task: str) -> str:
    """How the echo engine is called that is one task's alone."""
    return f"{ECHO}-{task}"


def was_started(project: Project) -> bool:
    """Whether the project has a store. A first start that failed leaves its directory behind, and no store in it.

    Raises:
        StoreError: The store cannot be reached.
    """
    if not project.state.is_dir():
        return False
    store = Store.connect(project.store_url)
    try:
        return store.revision() is not None
    finally:
        store.close()


def attach(project: Project) -> Installation:
    """Connect to the store of a project that runs, and read no declarations: a gateway answers by what was applied.

    Raises:
        StoreError: The store cannot be used, was never made, or is of another version.
    """
    store, catalogue = Store.open(project.store_url), usable_catalogue(project)
    return Installation(project, store, catalogue, {}, SystemClock(), None, tools=read_tools(project, {}))


def usable_catalogue(project: Project) -> Catalogue:
    """The project's cards, or those that ship with the package where one of its own is broken."""
    try:
        return Catalogue.load(project.cards)
    except ConfigError as exc:
        log.error("library: only the cards that come with changeover: %s", exc)
        return Catalogue.load()


def read_again(installation: Installation) -> Installation:
    """The same project with its declarations as they are now.

    Raises:
        ConfigError: A card or the policy is wrong.
    """
    catalogue, tasks, tools = read_declarations(installation.project)
    policy, problems = load_policy(installation.project.policy), problems_of(tasks, tools)
    return replace(installation, catalogue=catalogue, tasks=tasks, policy=policy, problems=problems, tools=tools)


def problems_of(tasks: Tasks, tools: Tools) -> tuple[ConfigError, ...]:
    """Everything that is wrong with a project's declarations."""
    return (*tasks.problems.values(), *tools.problems.values())


def read_declarations(project: Project) -> tuple[Catalogue, Tasks, Tools]:
    """A project's cards, tasks and tools, checked against each other. What is wrong with one stands beside the others.

    Raises:
        ConfigError: A card is wrong.
    """
    catalogue = Catalogue.load(project.cards)
    tasks = load_all_tasks(project.tasks, project.tools)
    for task in list(tasks.values()):
        try:
            _check_references(task, catalogue)
        except ConfigError as exc:
            tasks.refuse(task.name, exc)
    return catalogue, tasks, read_tools(project, tasks)


def read_tools(project: Project, tasks: Mapping[str, Task]) -> Tools:
    """A project's tools, checked against `tasks` where there are any."""
    if not project.tools.is_dir():
        return Tools()
    # Templates and schemas are large to load, and many projects have no tool.
    load, check = import_module("changeover.tools.load"), import_module("changeover.tools.check")
    tools = cast("Tools", load.load_tools(project.tools))
    if tasks:
        for tool in list(tools.values()):
            try:
                check.check_tool(tool, tasks)
            except ConfigError as exc:
                tools.refuse(tool.name, exc)
    return tools


def spec_of(task: Task, declared: ScorerDeclaration) -> ScorerSpec:
    """One of a task's scorers, its options checked."""
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


class _EchoTable(toml.Declared):
    echo: EchoOptions


def _check_echo(task: Task) -> None:
    if not task.declared.echo:
        return
    if task.declared.first_incumbent != ECHO:
        raise ConfigError(
            f"{task.file}: `echo`: options of the echo engine, but `first_incumbent` is "
            f"`{task.declared.first_incumbent}`. Take the table out, or name `{ECHO}`."
        )
    toml.validate(_EchoTable, {"echo": task.declared.echo}, where=task.file)


def _check_references(task: Task, catalogue: Catalogue) -> None:
    try:
        if task.declared.first_incumbent != ECHO:
            catalogue.card(task.declared.first_incumbent)
        for declared in (task.declared.scorer, *task.declared.measures):
            spec_of(task, declared)
        for declared in task.declared.guard.checks:
            check_live(spec_of(task, declared), "guard.checks", judged=False)
        for declared in task.declared.shadow.scorers:
            check_live(spec_of(task, declared), "shadow.scorers", judged=True)
    except ChangeoverError as exc:
        raise ConfigError(f"{task.file}: {exc.message}") from exc
    _check_echo(task)
    if not task.dataset.is_file():
        raise ConfigError(f"{task.file}: `dataset`: no file `{task.declared.dataset}`. Write it, or name another.")

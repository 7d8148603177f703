"""A project, opened: its declarations checked whole, its store at hand. The CLI and the running system start here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from changeover.core.clock import Clock, SystemClock
from changeover.core.errors import ChangeoverError, ConfigError, StoreError
from changeover.core.settings import Project
from changeover.evals.scorers import ScorerSpec
from changeover.library.catalogue import Catalogue
from changeover.store.engine import Store
from changeover.tasks.declarations import ScorerDeclaration, Task, load_tasks

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


def open_installation(project: Project) -> Installation:
    """Open a project that was started before: read all its declarations, and connect to its store.

    Raises:
        ConfigError: A declaration is wrong, or names a model, dataset or scorer that does not exist.
        StoreError: The store cannot be used, was never made, or is of another version.
    """
    catalogue, tasks = read_declarations(project)
    if not project.state.is_dir():
        raise StoreError(f"Project `{project.settings.name}` was never started. Run `changeover up` in it.")
    return Installation(project, Store.open(project.store_url), catalogue, tasks, SystemClock())


def read_declarations(project: Project) -> tuple[Catalogue, dict[str, Task]]:
    """A project's cards and tasks, checked against each other.

    Raises:
        ConfigError: One is wrong, or names a model, dataset or scorer that does not exist.
    """
    catalogue = Catalogue.load(project.cards)
    tasks = load_tasks(project.tasks)
    for task in tasks.values():
        _check_references(task, catalogue)
    return catalogue, tasks


def spec_of(task: Task, declared: ScorerDeclaration) -> ScorerSpec:
    """One of a task's scorers, its options checked."""
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


def _check_references(task: Task, catalogue: Catalogue) -> None:
    try:
        if task.declared.first_incumbent != ECHO:
            catalogue.card(task.declared.first_incumbent)
        for declared in (task.declared.scorer, *task.declared.measures):
            spec_of(task, declared)
    except ChangeoverError as exc:
        raise ConfigError(f"{task.file}: {exc.message}") from exc
    if not task.dataset.is_file():
        raise ConfigError(f"{task.file}: `dataset`: no file `{task.declared.dataset}`. Write it, or name another.")

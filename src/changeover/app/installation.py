"""A project, opened: its declarations checked whole, its store at hand. The CLI and the running system start here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from changeover.app.local import make_private
from changeover.core.clock import Clock, SystemClock
from changeover.core.errors import ChangeoverError, ConfigError, StoreError
from changeover.core.settings import Project
from changeover.evals.scorers import ScorerSpec
from changeover.library.catalogue import Catalogue
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.tasks.declarations import Task, load_tasks

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


def open_installation(project: Project, *, create: bool = False) -> Installation:
    """Open a project's store and read all its declarations.

    Args:
        project: Where it is.
        create: Make or migrate the store where needed.

    Raises:
        ConfigError: A declaration is wrong, or names a model, dataset or scorer that does not exist.
        StoreError: The store cannot be used, or was never made.
    """
    catalogue = Catalogue.load(project.cards)
    tasks = load_tasks(project.tasks)
    for task in tasks.values():
        _check_references(task, catalogue)
    if create:
        make_private(project.state)
        store = Store.connect(project.store_url)
        migrate(store)
    elif project.state.is_dir():
        store = Store.open(project.store_url)
    else:
        raise StoreError(f"Project `{project.settings.name}` was never started. Run `changeover up` in it.")
    return Installation(project, store, catalogue, tasks, SystemClock())


def scorer_of(task: Task) -> ScorerSpec:
    """The scorer that a task declares."""
    return ScorerSpec(name=task.declared.scorer.name, options=task.declared.scorer.options)


def _check_references(task: Task, catalogue: Catalogue) -> None:
    try:
        if task.declared.first_incumbent != ECHO:
            catalogue.card(task.declared.first_incumbent)
        scorer_of(task)
    except ChangeoverError as exc:
        raise ConfigError(f"{task.file}: {exc.message}") from exc
    if not task.dataset.is_file():
        raise ConfigError(f"{task.file}: `dataset`: no file `{task.declared.dataset}`. Write it, or name another.")

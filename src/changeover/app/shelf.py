"""The library as this installation has it: what may be used under the policy, what is fetched, what runs, what answers.

Outside a project it is the library as it ships: nothing runs and there is no policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from changeover.app.at_work import AtWork
from changeover.app.installation import Installation, was_started
from changeover.app.library_files import LibraryFiles
from changeover.core.clock import SystemClock
from changeover.core.settings import Project
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.policy import Policy
from changeover.library.pull import present
from changeover.store.engine import Store
from changeover.tasks.declarations import Task, load_all_tasks


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What this installation does with a model."""

    fetched: bool = False
    """Whether weights of it are in the cache, verified."""
    deployments: tuple[str, ...] = ()
    """Names under which it runs or shall run."""
    tasks: tuple[str, ...] = ()
    """Tasks that it answers as the incumbent."""

    @property
    def at_all(self) -> bool:
        """Whether anything of it is here."""
        return self.fetched or bool(self.deployments)


@dataclass(frozen=True)
class Shelf:
    """The library, seen from one installation."""

    catalogue: Catalogue
    cache: Path
    policy: Policy | None
    project: Project | None
    """None: seen from outside a project."""
    store: Store | None
    """None: the project was never started, or there is none."""
    only: frozenset[str] | None = None
    """Tasks that whoever looks may see; None: every one."""

    def presence(self, card: Card) -> Presence:
        """What is done with a model here."""
        fetched = any(present(artifact, self.cache) for artifact in card.artifacts)
        if self._at_work is None:
            return Presence(fetched=fetched)
        deployed = self._at_work.deployments_of.get(card.id, ())
        tasks = self._at_work.tasks_of.get(card.id, ())
        return Presence(fetched=fetched, deployments=tuple(row.name for row in deployed), tasks=tasks)

    def judgement(self, card: Card, task: str | None = None) -> Judgement:
        """What its licence and the policy say."""
        return Licensing(self.catalogue, self.policy, self.today).card(card, task)

    @property
    def today(self) -> date:
        """The day that grants, retirements and continuity are held against."""
        return SystemClock().now().date()

    @property
    def declared_tasks(self) -> Mapping[str, Task]:
        """Tasks that whoever looks may see, whose files can be read; none outside of a project."""
        return {name: task for name, task in self.every_task.items() if self.only is None or name in self.only}

    @cached_property
    def every_task(self) -> Mapping[str, Task]:
        """All of them, for what is kept whoever looks."""
        return {} if self.project is None else load_all_tasks(self.project.tasks, self.project.tools)

    @cached_property
    def _at_work(self) -> AtWork | None:
        if self.store is None:
            return None
        with self.store.read() as connection:
            return AtWork.read(connection, self.catalogue, self.only)


def shelf_of(installation: Installation) -> Shelf:
    """The library for a project that is open."""
    project = installation.project
    return Shelf(
        installation.catalogue, project.cache, installation.policy, project, installation.store, installation.only
    )


def open_shelf(directory: Path) -> Shelf:
    """The library for the project that a directory lies in; as it ships where it lies in none.

    Raises:
        ConfigError: A card, the policy or the settings are wrong.
        StoreError: The project was started, and its store cannot be used.
    """
    files = LibraryFiles.at(directory)
    project = files.project
    store = Store.open(project.store_url) if project is not None and was_started(project) else None
    return Shelf(files.catalogue(), files.cache, files.policy(), project, store)

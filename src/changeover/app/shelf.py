"""The library as this installation has it: what may be used under the policy, what is fetched, what runs, what answers.

Outside a project it is the library as it ships: nothing runs and there is no policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from changeover.app.installation import was_started
from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError
from changeover.core.settings import SETTINGS_FILE, Project, cache_directory, open_project
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judge import judge
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.policy import Policy, load_policy
from changeover.library.lineage import Model, find_card
from changeover.library.pull import present
from changeover.serving.queries import all_deployments, load_variants
from changeover.store.engine import Store
from changeover.tasks.declarations import Task, load_tasks
from changeover.tasks.queries import current_routes


@dataclass(frozen=True, kw_only=True)
class Use:
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

    def use(self, card: Card) -> Use:
        """What is done with a model here."""
        return Use(
            fetched=any(present(artifact, self.cache) for artifact in card.artifacts),
            deployments=self._deployments.get(card.id, ()),
            tasks=self._tasks.get(card.id, ()),
        )

    def judgement(self, card: Card, task: str | None = None) -> Judgement:
        """What its licence and the policy say."""
        return judge(card, self.catalogue, self.policy, today=self.today, task=task)

    @property
    def today(self) -> date:
        """The day that grants, retirements and continuity are held against."""
        return SystemClock().now().date()

    @cached_property
    def declared_tasks(self) -> Mapping[str, Task]:
        """Tasks of the project whose files can be read; none outside of one."""
        return {} if self.project is None else load_tasks(self.project.tasks)

    @cached_property
    def _deployments(self) -> Mapping[str, tuple[str, ...]]:
        if self.store is None:
            return {}
        with self.store.read() as connection:
            rows = all_deployments(connection)
        named = [(row.name, Model(name=row.model, weights=row.engine.get("weights_digest"))) for row in rows]
        return self._by_card(named)

    @cached_property
    def _tasks(self) -> Mapping[str, tuple[str, ...]]:
        if self.store is None:
            return {}
        with self.store.read() as connection:
            routes = current_routes(connection)
            variants = load_variants(connection, (route.incumbent for route in routes.values()))
        engines = {task: variants[route.incumbent].bundle.engine for task, route in sorted(routes.items())}
        named = [(task, Model(name=one.model, weights=one.weights_digest)) for task, one in engines.items()]
        return self._by_card(named)

    def _by_card(self, named: list[tuple[str, Model]]) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, model in named:
            card = find_card(self.catalogue, model)
            if card is not None:
                found[card.id] = (*found.get(card.id, ()), name)
        return found


def open_shelf(directory: Path) -> Shelf:
    """The library for the project that a directory lies in; as it ships where it lies in none.

    Raises:
        ConfigError: A card, the policy or the settings are wrong.
        StoreError: The project was started, and its store cannot be used.
    """
    try:
        project = open_project(directory)
    except ConfigError:
        if (directory / SETTINGS_FILE).exists():
            raise
        return Shelf(Catalogue.load(), cache_directory(), None, None, None)
    store = Store.open(project.store_url) if was_started(project) else None
    return Shelf(Catalogue.load(project.cards), project.cache, load_policy(project.policy), project, store)

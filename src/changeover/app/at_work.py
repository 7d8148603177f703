"""Which card stands behind a deployment, a variant or a task, and who answers now: read once, for all who ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection

from changeover.app.installation import ECHO, own_echo
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.lineage import Model, card_named, find_card
from changeover.serving.parts import EnginePart
from changeover.serving.queries import Deployment, all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.queries import current_routes
from changeover.tasks.routes import Route


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """What is deployed and what answers, with the cards of a catalogue."""

    catalogue: Catalogue
    deployments: Mapping[str, Deployment]
    """By name, in order."""
    routes: Mapping[str, Route]
    """By task, in order."""
    variants: Mapping[str, Variant]
    """Those that routes name."""

    @classmethod
    def read(cls, connection: Connection, catalogue: Catalogue, only: frozenset[str] | None = None) -> AtWork:
        """As it is in the store now, or as much of it as somebody sees who may see some tasks `only`."""
        every = dict(sorted(current_routes(connection).items()))
        routes = {task: route for task, route in every.items() if only is None or task in only}
        alone = {own_echo(task) for task in every.keys() - routes.keys()}
        return cls(
            catalogue=catalogue,
            deployments={row.name: row for row in all_deployments(connection) if row.name not in alone},
            routes=routes,
            variants=load_variants(connection, {id for route in routes.values() for id in route.variants()}),
        )

    @cached_property
    def incumbents(self) -> Mapping[str, Variant]:
        """Who answers each task."""
        return {task: self.variants[route.incumbent] for task, route in self.routes.items()}

    @property
    def answering(self) -> Iterable[tuple[str, Variant]]:
        """Every task with whoever has a share of it: its incumbent, and a candidate that answers callers."""
        yield from self.incumbents.items()
        for task, route in self.routes.items():
            if route.candidate is not None and route.candidate_weight > 0:
                yield task, self.variants[route.candidate]

    @cached_property
    def cards(self) -> Mapping[str, Card]:
        """The card of each deployment whose model has one."""
        found = {name: card_of(self.catalogue, row) for name, row in self.deployments.items()}
        return {name: card for name, card in found.items() if card is not None}

    @cached_property
    def deployments_of(self) -> Mapping[str, tuple[Deployment, ...]]:
        """Deployments by id of their card."""
        found: dict[str, tuple[Deployment, ...]] = {}
        for name, card in self.cards.items():
            found[card.id] = (*found.get(card.id, ()), self.deployments[name])
        return found

    @cached_property
    def tasks_of(self) -> Mapping[str, tuple[str, ...]]:
        """Tasks by id of the card that answers them as the incumbent."""
        found: dict[str, tuple[str, ...]] = {}
        for task, variant in self.incumbents.items():
            if (card := card_behind(self.catalogue, variant.bundle.engine)) is not None:
                found[card.id] = (*found.get(card.id, ()), task)
        return found


def has_model(engine: EnginePart) -> bool:
    """Whether it is another than the engine without a model, which needs nobody's licence."""
    return engine.backend != ECHO


def model_of(engine: EnginePart) -> Model:
    """What an engine runs, as it may be looked for among cards."""
    return Model(name=engine.model, weights=engine.weights_digest)


def card_behind(catalogue: Catalogue, engine: EnginePart) -> Card | None:
    """The card of what an engine runs, by its weights or else by the model's name."""
    return find_card(catalogue, model_of(engine))


def card_of(catalogue: Catalogue, row: Deployment) -> Card | None:
    """The card of a deployment: of what its engine runs, or else the one that it was asked for by."""
    return card_behind(catalogue, EnginePart.from_document(row.engine)) or card_named(catalogue, row.model)

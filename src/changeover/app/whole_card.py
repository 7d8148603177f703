"""Everything that is known of one model or accelerator: each fact with its sources, and what this installation made of it.

The terminal's page and the JSON document are both written from this.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from changeover.app.installation import Installation
from changeover.app.observed import contradicted
from changeover.app.shelf import Presence, Shelf
from changeover.app.verified import verified_here
from changeover.core.clock import SystemClock
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.facts import EVERYTHING, FactSource
from changeover.library.genealogy import Relative, ancestors, descendants
from changeover.library.licences.judgement import Judgement
from changeover.library.lineage import Model
from changeover.library.sources.resolve import Resolved
from changeover.library.states import Reached, State
from changeover.library.successors import Successor, successors

NOT_FACTS: Final = frozenset({"id", "sources", "unverified"})
"""What the document says elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact, and where it was read."""

    value: Any
    """JSON; None: unknown."""
    sources: tuple[FactSource, ...]


@dataclass(frozen=True, kw_only=True)
class WholeCard:
    """One model, whole."""

    card: Card
    facts: Mapping[str, Fact]
    """Every key a card may have, dotted where it is nested."""
    judgement: Judgement
    presence: Presence
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    successors: tuple[Successor, ...]
    contradicted: tuple[Resolved, ...]
    """What sources say otherwise."""
    reached: tuple[Reached, ...]
    """What this installation did with it, in order; empty: it has a card."""

    @property
    def state(self) -> State:
        """How far it has come here."""
        return self.reached[-1].state if self.reached else "declared"

    def document(self) -> dict[str, Any]:
        """The card as JSON: keys are always there, null is unknown."""
        return {
            "id": self.card.id,
            "kind": "model",
            "facts": _facts_document(self.facts),
            "unverified": list(self.card.unverified),
            "judgement": {
                "outcome": self.judgement.outcome,
                "allowed": self.judgement.allowed,
                "policy": self.judgement.policy,
                "reasons": [asdict(reason) for reason in self.judgement.reasons],
            },
            "lineage": {
                "ancestors": [_relative(each) for each in self.ancestors],
                "descendants": [_relative(each) for each in self.descendants],
                "successors": [
                    {"id": each.card.id, "reason": each.reason, "named": each.named} for each in self.successors
                ],
            },
            "here": {**asdict(self.presence), "state": self.state, "reached": list(self.reached)},
            "conflicts": [
                {"fact": each.fact, "counts": each.winner, "because": each.because, "against": list(each.conflicts)}
                for each in self.contradicted
            ],
        }


def whole_card(shelf: Shelf, card: Card) -> WholeCard:
    """Put together what is known of a model."""
    return WholeCard(
        card=card,
        facts=facts_of(card),
        judgement=shelf.judgement(card),
        presence=shelf.presence(card),
        ancestors=ancestors(shelf.catalogue, card),
        descendants=descendants(shelf.catalogue, card),
        successors=successors(shelf.catalogue, Model(name=card.id)),
        contradicted=contradicted(shelf, card),
        reached=_reached(shelf, card),
    )


def _reached(shelf: Shelf, card: Card) -> tuple[Reached, ...]:
    """What was done with a model here, and is written down by that where it is new."""
    if shelf.project is None or shelf.store is None:
        return ()
    installation = Installation(
        shelf.project, shelf.store, shelf.catalogue, shelf.every_task, SystemClock(), shelf.policy
    )
    return tuple(verified_here(installation, card).reached)


def accelerator_document(accelerator: Accelerator) -> dict[str, Any]:
    """An accelerator as JSON, like a model."""
    return {
        "id": accelerator.id,
        "kind": "accelerator",
        "facts": _facts_document(facts_of(accelerator)),
        "unverified": list(accelerator.unverified),
    }


def facts_of(declared: Card | Accelerator) -> dict[str, Fact]:
    """Every fact that such a declaration may state, with its sources; those it does not state are None."""
    dumped = declared.model_dump(mode="json")
    return {
        key: Fact(value=value, sources=sources_of(declared.sources, key) if value is not None else ())
        for key, value in _flat(type(declared), dumped)
    }


def sources_of(sources: tuple[FactSource, ...], fact: str) -> tuple[FactSource, ...]:
    """Where a fact was read: what names it, a part of it or what it is part of; else what is given for everything."""
    named = tuple(each for each in sources if any(_about(said, fact) for said in each.facts))
    return named or tuple(each for each in sources if EVERYTHING in each.facts)


def _about(said: str, fact: str) -> bool:
    return said == fact or said.startswith(f"{fact}.") or fact.startswith(f"{said}.")


def _flat(model: type[BaseModel], dumped: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if not before and name in NOT_FACTS:
            continue
        key, value = f"{before}{name}", dumped.get(name)
        inner = _nested(field.annotation)
        if inner is not None:
            yield from _flat(inner, value or {}, f"{key}.")
        else:
            yield key, None if value in (None, [], {}) else value


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The declaration that a key holds one of, if it does."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _facts_document(facts: Mapping[str, Fact]) -> dict[str, Any]:
    return {
        key: {"value": fact.value, "sources": [_source(source) for source in fact.sources]}
        for key, fact in facts.items()
    }


def _relative(relative: Relative) -> dict[str, Any]:
    return {
        "name": relative.name,
        "known": relative.known,
        "relation": relative.relation,
        "steps": relative.steps,
    }


def _source(source: FactSource) -> dict[str, str]:
    return {"at": source.at, "grade": source.grade, "checked": source.checked.isoformat()}

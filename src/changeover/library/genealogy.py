"""Family trees: what a card was made from, all the way up, and which cards were made from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.lineage import card_named


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A model above or below a card."""

    name: str
    """Id of its card; as the card names it where it has none."""
    known: bool
    """Whether it has a card."""
    relation: str
    """What the one below is to the one above: `tuned`, `distilled`, `merged`, `quantised`, `fine-tuned`, `adapted`, `derived`."""
    steps: int
    """1 for a parent or a child."""
    beside: str
    """The one of these models that stands one step nearer to the card; the card itself for a parent or a child."""


def ancestors(catalogue: Catalogue, card: Card) -> tuple[Relative, ...]:
    """What a card was made from, nearest first."""
    found: dict[str, Relative] = {}
    waiting = [(card, 1)]
    while waiting:
        below, steps = waiting.pop(0)
        for name, relation in _parents(below):
            above = card_named(catalogue, name)
            relative = Relative(
                name=name if above is None else above.id,
                known=above is not None,
                relation=relation,
                steps=steps,
                beside=below.id,
            )
            if relative.name in found:
                continue
            found[relative.name] = relative
            if above is not None:
                waiting.append((above, steps + 1))
    return tuple(found.values())


def descendants(catalogue: Catalogue, card: Card) -> tuple[Relative, ...]:
    """Cards that were made from a card, nearest first."""
    found: dict[str, Relative] = {}
    waiting = [(card, 1)]
    while waiting:
        above, steps = waiting.pop(0)
        for below in catalogue.cards():
            relation = next((how for name, how in _parents(below) if card_named(catalogue, name) == above), None)
            if relation is None or below.id in found:
                continue
            found[below.id] = Relative(name=below.id, known=True, relation=relation, steps=steps, beside=above.id)
            waiting.append((below, steps + 1))
    return tuple(found.values())


def _parents(card: Card) -> Iterator[tuple[str, str]]:
    lineage = card.lineage
    if lineage.base:
        yield lineage.base, "tuned"
    if lineage.derived_from:
        yield lineage.derived_from, lineage.derivation or "derived"

"""What a model was made from, and the terms of that: by cards where there are any, by names where not."""

from __future__ import annotations

from dataclasses import dataclass

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.terms import LicenceTerms
from changeover.library.lineage import Model, families_of, find_card, plain_name


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A model that another was made from, with one of the licences that it is under."""

    name: str
    """Id of its card, or the name that a card calls it by."""
    terms: LicenceTerms | None
    """None: nothing is known of them."""
    source: str | None
    """Where it was read that it is under them."""
    vendor: str | None = None
    """None: it has no card."""


def ancestors(card: Card, catalogue: Catalogue) -> tuple[Ancestor, ...]:
    """Everything that a model was made from, nearest first, once for each licence.

    A name without a card and of the model's own family, whose terms nobody wrote down, is left out: that somebody tuned
    their own model says nothing new.
    """
    found: list[Ancestor] = []
    seen, waiting = {card.id}, [card]
    while waiting:
        lineage = waiting.pop(0).lineage
        for name in (lineage.derived_from, lineage.base):
            if name is None or plain_name(name) in seen:
                continue
            seen.add(plain_name(name))
            ancestor = find_card(catalogue, Model(name=name))
            if ancestor is None:
                found += _by_name(card, name, catalogue)
            elif ancestor.id not in seen or ancestor.id == plain_name(name):
                seen.add(ancestor.id)
                found += _by_card(ancestor, catalogue)
                waiting.append(ancestor)
    return tuple(found)


def _by_card(card: Card, catalogue: Catalogue) -> list[Ancestor]:
    named = () if card.licence is None else (card.licence.id, *card.licence.also)
    source = next((each.at for each in card.sources if each.says("licence")), None)
    known = [Ancestor(name=card.id, terms=catalogue.licence(one), source=source, vendor=card.vendor) for one in named]
    return known or [Ancestor(name=card.id, terms=None, source=None, vendor=card.vendor)]


def _by_name(card: Card, name: str, catalogue: Catalogue) -> list[Ancestor]:
    plain = plain_name(name)
    for terms in catalogue.licences():
        if any(plain == beginning or plain.startswith(f"{beginning}-") for beginning in terms.models):
            return [Ancestor(name=name, terms=terms, source=terms.models_source)]
    kin = set(families_of(catalogue, Model(name=name))) & set(families_of(catalogue, Model(name=card.id)))
    return [] if kin else [Ancestor(name=name, terms=None, source=None)]

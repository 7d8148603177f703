"""Cards for tests: as little as a card needs, and what a test is about."""

from __future__ import annotations

from datetime import date
from typing import Any

from changeover.library.cards import Card, Lineage, Terms
from changeover.library.catalogue import Catalogue
from changeover.library.facts import FactSource

READ = FactSource(facts=("everything",), at="test", grade="run", checked=date(2026, 11, 30))


def card(id: str, licence: str | None = "MIT", *, vendor: str = "Somebody", **more: Any) -> Card:
    """An open model under a licence."""
    terms = more.pop("terms", None if licence is None else Terms(id=licence))
    lineage = Lineage(base=more.pop("base", None), derived_from=more.pop("derived_from", None))
    weights = more.pop("weights", "open")
    return Card(
        id=id,
        display_name=id,
        family=more.pop("family", id),
        vendor=vendor,
        licence=terms,
        weights=weights,
        lineage=lineage,
        sources=(READ,),
        **more,
    )


def catalogue(*cards: Card) -> Catalogue:
    """Those cards, with the licences that ship."""
    licences = {terms.id: terms for terms in Catalogue.load().licences()}
    return Catalogue({each.id: each for each in cards}, licences=licences)

"""What the library has models for, and the family trees of cards."""

from __future__ import annotations

from datetime import date

import pytest

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.coverage import OPEN, SCENARIOS, coverage, licence_class, size_class
from changeover.library.facts import FactSource
from changeover.library.genealogy import ancestors, descendants
from changeover.library.licences.terms import LicenceTerms

SOURCE = FactSource(facts=("everything",), at="test", grade="run", checked=date(2026, 11, 21))
LICENCES = [
    LicenceTerms(
        id=id, name=id, spdx=False, osi_approved=approved, source="test", grade="run", checked=date(2026, 11, 21)
    )
    for id, approved in (("MIT", True), ("community", False))
]


def card(id: str, **facts: object) -> Card:
    said = {"display_name": id, "family": id, "vendor": "Maker", **facts}
    return Card.model_validate({"id": id, "sources": (SOURCE,), **said})


def catalogue(*cards: Card) -> Catalogue:
    return Catalogue({each.id: each for each in cards}, licences={terms.id: terms for terms in LICENCES})


@pytest.mark.parametrize(
    ("size", "name"),
    [(None, "size unknown"), (4, "≤ 4 B"), (4.1, "≤ 15 B"), (80, "≤ 80 B"), (80.1, "larger"), (1000, "larger")],
)
def test_a_size_belongs_to_the_smallest_class_that_holds_it(size: float | None, name: str) -> None:
    assert size_class(card("one", parameters_b=size)) == name


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"weights": "open", "licence": {"id": "MIT"}}, "free"),
        ({"weights": "open", "licence": {"id": "MIT", "also": ["policy"]}}, "conditions"),
        ({"weights": "open", "licence": {"id": "community"}}, "conditions"),
        ({"weights": "open", "licence": {"id": "nobody-knows"}}, "unknown"),
        ({"weights": "open"}, "unknown"),
        ({"licence": {"id": "MIT"}}, "unknown"),
        ({"weights": "closed", "licence": {"id": "community"}}, "closed"),
    ],
)
def test_weights_and_licence_make_a_class(facts: dict[str, object], name: str) -> None:
    one = card("one", **facts)
    assert licence_class(catalogue(one), one) == name


def test_a_closed_model_fills_no_gap_and_a_model_counts_once() -> None:
    both = card("both", scenarios=("code", "agents"), parameters_b=7, weights="open", licence={"id": "MIT"})
    closed = card("closed", scenarios=("video",), parameters_b=7, weights="closed")
    bare = card("bare", weights="open")
    counted = coverage(catalogue(both, closed, bare))
    assert counted.count() == 3
    assert counted.count(scenario="code", licences=("free",)) == counted.count(scenario="agents") == 1
    assert counted.count(scenario="video") == 1
    assert counted.count(scenario="video", licences=OPEN) == 0
    gaps = counted.gaps()
    assert ("video", "≤ 15 B") in gaps
    assert ("code", "≤ 15 B") not in gaps
    assert ("code", "≤ 4 B") in gaps
    assert counted.unclassified == ("bare",)
    assert sum(counted.places().values()) == 3


def test_only_what_is_counted_is_counted() -> None:
    cards = [card("a", scenarios=("code",)), card("b", scenarios=("code",))]
    assert coverage(catalogue(*cards), lambda each: each.id == "a").count(scenario="code") == 1


def test_the_library_says_where_it_has_nothing() -> None:
    counted = coverage(Catalogue.load())
    assert counted.count() == len(Catalogue.load().cards())
    for scenario in ("dialogue", "code", "ocr", "image-generation", "3d"):
        assert counted.count(scenario=scenario, licences=OPEN), scenario
    assert {scenario for scenario, _ in counted.gaps()} <= set(SCENARIOS)


def test_a_family_tree_goes_all_the_way_up_and_down() -> None:
    library = catalogue(
        card("base", lineage={"base": "Nobody/Has-A-Card"}),
        card("tuned", lineage={"base": "base"}),
        card("small", lineage={"derived_from": "Tuned", "derivation": "distilled"}),
        card("other", lineage={"base": "base"}),
    )
    up = ancestors(library, library.card("small"))
    assert [(each.name, each.known, each.relation, each.steps) for each in up] == [
        ("tuned", True, "distilled", 1),
        ("base", True, "tuned", 2),
        ("Nobody/Has-A-Card", False, "tuned", 3),
    ]
    down = descendants(library, library.card("base"))
    assert [(each.name, each.relation, each.steps) for each in down] == [
        ("other", "tuned", 1),
        ("tuned", "tuned", 1),
        ("small", "distilled", 2),
    ]
    assert ancestors(library, card("alone")) == descendants(library, card("alone")) == ()

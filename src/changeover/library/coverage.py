"""Which kinds of models the library has, and where it has none: modality × scenario × size × licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from changeover.library.cards import Card, Scenario
from changeover.library.catalogue import Catalogue

SIZES: Final = (("≤ 4 B", 4.0), ("≤ 15 B", 15.0), ("≤ 80 B", 80.0), ("larger", float("inf")))
"""Classes by all parameters: a laptop, one small card, one large card, several."""
UNKNOWN_SIZE: Final = "size unknown"
LicenceClass = Literal["free", "conditions", "closed", "unknown"]
LICENCE_CLASSES: Final[tuple[LicenceClass, ...]] = get_args(LicenceClass)
SCENARIOS: Final[tuple[Scenario, ...]] = get_args(Scenario)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One cell of the matrix."""

    modality: str
    """What is read and written: `text+image → text`."""
    scenario: str
    size: str
    licence: LicenceClass


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many cards stand in each place."""

    cards: int
    counts: dict[Place, int]
    """Places with at least one card."""
    unclassified: tuple[str, ...]
    """Ids of cards that name no scenario."""

    def count(self, *, scenario: str, size: str | None = None, licence: LicenceClass | None = None) -> int:
        """Cards for a scenario, of one size or licence class or of any. Each card counts once."""
        return sum(
            count
            for place, count in self.counts.items()
            if place.scenario == scenario and size in (None, place.size) and licence in (None, place.licence)
        )

    def gaps(self) -> list[tuple[str, str]]:
        """Scenario and size where no model with open weights stands."""
        return [
            (scenario, size)
            for scenario in SCENARIOS
            for size, _ in SIZES
            if not any(self.count(scenario=scenario, size=size, licence=each) for each in ("free", "conditions"))
        ]


def coverage(catalogue: Catalogue, counted: Callable[[Card], bool] = lambda card: True) -> Coverage:
    """Count the cards of a catalogue, or those of them that are `counted`."""
    cards = [card for card in catalogue.cards() if counted(card)]
    counts = Counter(place for card in cards for place in places(catalogue, card))
    return Coverage(
        cards=len(cards),
        counts=dict(counts),
        unclassified=tuple(card.id for card in cards if not card.scenarios),
    )


def places(catalogue: Catalogue, card: Card) -> list[Place]:
    """Where a card stands, once for each of its scenarios."""
    return [
        Place(modality=modality(card), scenario=name, size=size_class(card), licence=licence_class(catalogue, card))
        for name in dict.fromkeys(card.scenarios)
    ]


def modality(card: Card) -> str:
    """What a card reads and writes."""
    return f"{_joined(card.modalities_in)} → {_joined(card.modalities_out)}"


def size_class(card: Card) -> str:
    """The smallest class that holds it."""
    if card.parameters_b is None:
        return UNKNOWN_SIZE
    return next(name for name, most in SIZES if card.parameters_b <= most)


def licence_class(catalogue: Catalogue, card: Card) -> LicenceClass:
    """`free`: open, and the licence is approved as open source. `conditions`: open, under any other. Whoever uses it decides by the policy."""
    if card.weights == "closed":
        return "closed"
    if card.weights is None or card.licence is None:
        return "unknown"
    terms = catalogue.licence(card.licence.id)
    if terms is None:
        return "unknown"
    return "free" if terms.osi_approved and not card.licence.also else "conditions"


def _joined(names: Iterable[str]) -> str:
    return "+".join(names) or "unknown"

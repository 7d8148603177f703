"""Which kinds of models the library has, and where it has none: modality × scenario × size × licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from changeover.library.cards import Card, Scenario
from changeover.library.catalogue import Catalogue

SIZES: Final = (("≤ 4 B", 4.0), ("≤ 15 B", 15.0), ("≤ 80 B", 80.0), ("larger", float("inf")))
"""Classes by all parameters: a laptop, one small card, one large card, several."""
UNKNOWN_SIZE: Final = "size unknown"
LicenceClass = Literal["free", "conditions", "closed", "unknown"]
LICENCE_CLASSES: Final[tuple[LicenceClass, ...]] = get_args(LicenceClass)
OPEN: Final[tuple[LicenceClass, ...]] = ("free", "conditions", "unknown")
"""Not known to be closed."""
SCENARIOS: Final[tuple[Scenario, ...]] = get_args(Scenario)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a card stands in the matrix: once for each of its scenarios."""

    model: str
    modality: str
    """What is read and written: `text+image → text`."""
    scenarios: tuple[Scenario, ...]
    size: str
    licence: LicenceClass


@dataclass(frozen=True)
class Coverage:
    """Where the cards stand."""

    standing: tuple[Standing, ...]

    def count(
        self,
        *,
        scenario: str | None = None,
        modality: str | None = None,
        size: str | None = None,
        licences: Container[LicenceClass] = LICENCE_CLASSES,
    ) -> int:
        """Cards in a part of the matrix; what is not said may be anything. Each card counts once."""
        return sum(
            (scenario is None or scenario in each.scenarios)
            and modality in (None, each.modality)
            and size in (None, each.size)
            and each.licence in licences
            for each in self.standing
        )

    def place(self, scenario: str, size: str) -> tuple[int, int]:
        """Open models of a scenario and a size: those under an open-source licence, and those under other terms."""
        free = self.count(scenario=scenario, size=size, licences=("free",))
        return free, self.count(scenario=scenario, size=size, licences=OPEN) - free

    @property
    def missing(self) -> tuple[Scenario, ...]:
        """Scenarios for which there is no open model of any size."""
        return tuple(name for name in SCENARIOS if not self.count(scenario=name, licences=OPEN))

    @property
    def modalities(self) -> tuple[str, ...]:
        """What is read and written, each once."""
        return tuple(sorted({each.modality for each in self.standing}))

    def gaps(self) -> list[tuple[Scenario, str]]:
        """Scenario and size where no model with open weights stands."""
        return [
            (scenario, size)
            for scenario in SCENARIOS
            for size, _ in SIZES
            if not self.count(scenario=scenario, size=size, licences=OPEN)
        ]

    def places(self) -> Counter[tuple[str, Scenario, str, LicenceClass]]:
        """How many cards stand in each place with at least one: modality, scenario, size, licence."""
        return Counter(
            (each.modality, scenario, each.size, each.licence) for each in self.standing for scenario in each.scenarios
        )

    @property
    def unclassified(self) -> tuple[str, ...]:
        """Ids of cards that name no scenario."""
        return tuple(each.model for each in self.standing if not each.scenarios)


def coverage(catalogue: Catalogue, counted: Callable[[Card], bool] = lambda card: True) -> Coverage:
    """Place the cards of a catalogue, or those of them that are `counted`."""
    return Coverage(
        tuple(
            Standing(
                model=card.id,
                modality=modality(card),
                scenarios=card.scenarios,
                size=size_class(card),
                licence=licence_class(catalogue, card),
            )
            for card in catalogue.cards()
            if counted(card)
        )
    )


def modality(card: Card) -> str:
    """What a card reads and writes."""
    return f"{_joined(card.modalities_in)} → {_joined(card.modalities_out)}"


def size_class(card: Card) -> str:
    """The smallest class that holds it."""
    if card.parameters_b is None:
        return UNKNOWN_SIZE
    return next(name for name, most in SIZES if card.parameters_b <= most)


def licence_class(catalogue: Catalogue, card: Card) -> LicenceClass:
    """How free its weights are; what may be done with them here, the policy says.

    `free`: open, under a licence that is approved as open source. `conditions`: open, under other terms.
    """
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

"""Signals of all models side by side: the newest reading of each, and what is much among models of one modality."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from changeover.library.cards import Card
from changeover.library.facts import GRADES
from changeover.library.observations import SIGNALS, Observation

FEWEST_PEERS: Final = 3
"""Models of a modality that must have a signal before one of them can be called much or little."""

Modality = Literal["text", "image", "video", "audio", "3d", "embedding", "unknown"]

_WORDS: Final[Mapping[Modality, tuple[str, ...]]] = {
    "3d": ("mesh", "3d", "point cloud", "voxel", "part scene"),
    "video": ("video",),
    "image": ("image",),
    "audio": ("audio", "speech"),
    "embedding": ("embedding", "vector"),
    "text": ("text",),
}
"""Words of what a card writes, the most particular first: a model that draws and says so is one that draws."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A number that was read of a model."""

    value: float
    source: str
    as_of: date | None


class Signals:
    """Newest readings by card and signal."""

    def __init__(self, observations: Iterable[Observation], cards: Iterable[Card]) -> None:
        """Take the newest reading of each signal; of one day the better grade."""
        self._modalities = {card.id: modality_of(card) for card in cards}
        self._found: dict[tuple[str, str], Observation] = {}
        for each in observations:
            if each.fact not in SIGNALS or each.value is None:
                continue
            before = self._found.get((each.card, each.fact))
            if before is None or _rank(each) > _rank(before):
                self._found[each.card, each.fact] = each

    def of(self, card: str, fact: str) -> Observation | None:
        """The newest reading of one signal; None: nobody read it."""
        return self._found.get((card, fact))

    def number(self, card: str, facts: Sequence[str]) -> Reading | None:
        """The sum of the signals that were read, dated by the oldest of them; None where none was."""
        found = [each for fact in facts if (each := self.of(card, fact)) is not None and _is_number(each.value)]
        if not found:
            return None
        dates = [each.as_of for each in found]
        sources = dict.fromkeys(f"{each.source}: {each.locator}" for each in found)
        return Reading(
            value=float(sum(each.value for each in found)),
            source="; ".join(sources),
            as_of=None if None in dates else min(day for day in dates if day is not None),
        )

    def much(self, modality: Modality, facts: Sequence[str]) -> tuple[float, int] | None:
        """What 95 % of a modality's models do not exceed, and how many models that is of; None where they are too few."""
        values = [
            reading.value
            for card, of in self._modalities.items()
            if of == modality and (reading := self.number(card, facts)) is not None
        ]
        return (percentile(values, 0.95), len(values)) if len(values) >= FEWEST_PEERS else None


def modality_of(card: Card) -> Modality:
    """Which models it is fair to compare a model with, by what it writes."""
    said = " ".join(card.modalities_out).casefold()
    found: list[Modality] = [name for name, words in _WORDS.items() if any(word in said for word in words)]
    return found[0] if found else "unknown"


def normalised(value: float, much: float) -> float:
    """`log(1 + v) / log(1 + p95)`, at most 1."""
    return min(1.0, math.log1p(value) / math.log1p(much)) if much > 0 else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies, straight between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _rank(each: Observation) -> tuple[date, int]:
    return each.as_of or date.min, -GRADES.index(each.grade)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0

"""Familiarity: how many developers already know a model, by what hubs count and by this organisation's own use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from changeover.library.cards import Card
from changeover.library.scores.parts import Part, Score, is_stale
from changeover.library.scores.signals import Signals, modality_of, normalised, percentile

WEIGHTS: Final[tuple[tuple[str, float, tuple[str, ...]], ...]] = (
    ("downloads in 30 days", 30, ("signals.downloads_30d",)),
    ("downloads ever", 15, ("signals.downloads_all_time",)),
    ("likes", 15, ("signals.likes",)),
    (
        "models made from it",
        20,
        ("signals.finetunes", "signals.adapters", "signals.merges", "signals.quantised"),
    ),
    ("hosts that offer it", 10, ("signals.providers",)),
)
"""Part, percent, and the signals that are added up for it."""
OWN_WEIGHT: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class OwnUse:
    """What this organisation did with a model so far."""

    tasks: int
    """That it answers now."""
    calls: int
    """Of applications."""
    keys: int
    """Applications or people that called it."""


NO_USE: Final = OwnUse(tasks=0, calls=0, keys=0)


def familiarity(card: Card, signals: Signals, own: Mapping[str, OwnUse] | None, today: date) -> Score:
    """How familiar a model is, 0 to 100.

    Each signal is `log(1 + v) / log(1 + p95 of the models of its modality)`, so that a model of meshes is not judged
    beside chat models. Where too few models of a modality have a signal, there is nothing to hold it against, and the
    part has no data. The hubs' downloads count requests of a repository's files, so that machines which fetch the same
    model again and again are in them: they say how much a model is fetched, and not by how many people.

    Args:
        card: The model.
        signals: Of all models.
        own: This organisation's use of each card that it uses; None: there is no installation to ask.
        today: Signals are old or new by it.
    """
    parts = [_signal(card, signals, name, weight, facts, today) for name, weight, facts in WEIGHTS]
    return Score(model=card.id, parts=(*parts, _own(card, own)))


def _signal(card: Card, signals: Signals, name: str, weight: float, facts: tuple[str, ...], today: date) -> Part:
    reading = signals.number(card.id, facts)
    if reading is None:
        return Part(name=name, weight=weight, value=None, says="not known")
    said = f"{reading.value:,.0f}"
    if len(facts) > 1:
        each = ((fact.split(".")[1], signals.of(card.id, fact)) for fact in facts)
        said += f" ({', '.join(f'{kind} {one.value:,}' for kind, one in each if one is not None)})"
    modality = modality_of(card)
    much = signals.much(modality, facts)
    if much is None:
        return Part(
            name=name,
            weight=weight,
            value=None,
            says=f"{said}; too few {modality} models have this number to say whether that is much",
            source=reading.source,
            as_of=reading.as_of,
        )
    p95, count = much
    return Part(
        name=name,
        weight=weight,
        value=normalised(reading.value, p95),
        says=f"{said}, beside {p95:,.0f} as p95 of {count} {modality} models",
        source=reading.source,
        as_of=reading.as_of,
        stale=is_stale(reading.as_of, today),
    )


def _own(card: Card, own: Mapping[str, OwnUse] | None) -> Part:
    name = "own use"
    if own is None or not any(use.tasks or use.calls for use in own.values()):
        return Part(name=name, weight=OWN_WEIGHT, value=None, says="nothing was used here yet")
    use = own.get(card.id, NO_USE)
    shares = [
        normalised(getattr(use, field), percentile([getattr(each, field) for each in own.values()], 0.95))
        for field in ("tasks", "calls", "keys")
    ]
    return Part(
        name=name,
        weight=OWN_WEIGHT,
        value=sum(shares) / len(shares),
        says=f"answers {use.tasks} tasks, {use.calls:,} calls by {use.keys} keys",
        source="this installation",
    )

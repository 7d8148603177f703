"""What no score may average away: facts that stand beside both scores, each in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from changeover.core.errors import UnknownModelError
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.words import refusal
from changeover.library.lineage import Model
from changeover.library.scores.engines import Registry
from changeover.library.scores.parts import Flag
from changeover.library.scores.signals import Signals
from changeover.library.scores.support import ALIVE, last_sign, listing
from changeover.library.successors import successors


def flags(
    card: Card,
    catalogue: Catalogue,
    signals: Signals,
    judgement: Judgement,
    today: date,
    registries: Sequence[Registry] = (),
) -> tuple[Flag, ...]:
    """Everything that somebody who chooses this model must have read. Unknown raises none."""
    return tuple(
        [
            *_of_the_licence(judgement),
            *_of_the_files(card),
            *_of_the_upkeep(card, catalogue, signals, today, registries),
            *_of_the_hosts(card),
            *_of_the_hardware(card, catalogue),
        ]
    )


def _of_the_licence(judgement: Judgement) -> Iterator[Flag]:
    if judgement.allowed:
        return
    deciding = judgement.deciding
    name = "licence denies it" if judgement.outcome == "deny" else "licence needs a person"
    yield Flag(name=name, says=refusal(judgement), source=None if deciding is None else deciding.source)


def _of_the_files(card: Card) -> Iterator[Flag]:
    if card.gated:
        yield Flag(name="gated", says="the hub gives the weights only to who has agreed to something there")
    if card.architecture.remote_code:
        yield Flag(name="remote code", says="its repository brings code that an engine would run")
    if card.architecture.pickle:
        yield Flag(name="pickle", says="its weights come only in a form that runs code when it is read")


def _of_the_upkeep(
    card: Card, catalogue: Catalogue, signals: Signals, today: date, registries: Sequence[Registry]
) -> Iterator[Flag]:
    found = listing(card, registries)
    for engine, last in found.dropped:
        yield Flag(name="engine dropped it", says=f"{engine} ran it until {last}")
    if card.retired is not None and card.retired <= today:
        yield Flag(name="retired", says=f"by its vendor, on {card.retired}")
    followed = bool(successors(catalogue, Model(name=card.id))) or card.lineage.successor is not None
    sign = last_sign(card, signals)
    unkept = found.known and not found.runs
    if unkept and not followed and sign is not None and today - sign > ALIVE:
        # As the timeline has it: where nobody looked for commits, nobody is known to have left it.
        left = bool(found.dropped) or signals.of(card.id, "signals.last_commit") is not None
        yield Flag(
            name="orphaned" if left else "no engine",
            says=f"no engine lists it, nothing follows it, and the last sign of it is of {sign}",
        )


def _of_the_hosts(card: Card) -> Iterator[Flag]:
    for hosted in card.hosted:
        if hosted.moved is not None or hosted.now is not None:
            since = f" since {hosted.moved}" if hosted.moved else ""
            now = hosted.now or "another model"
            yield Flag(name="hosted alias moved", says=f"`{hosted.id}` of {hosted.host} answers with {now}{since}")


def _of_the_hardware(card: Card, catalogue: Catalogue) -> Iterator[Flag]:
    """Where nothing but one vendor's accelerators was verified, and no engine runs it on processors."""
    kinds = {kind for recipe in card.recipes for kind in recipe.verified_hardware}
    vendors = {vendor for kind in kinds if (vendor := _vendor(kind, catalogue)) is not None}
    on_processors = card.architecture.gguf is not None or any(each.format == "gguf" for each in card.artifacts)
    if len(vendors) == 1 and not on_processors:
        yield Flag(name="single-vendor hardware", says=f"verified on accelerators of {vendors.pop()} only")


def _vendor(kind: str, catalogue: Catalogue) -> str | None:
    try:
        return catalogue.accelerator(kind).vendor
    except UnknownModelError:
        return None

"""Whether models fit hardware: named, or that of this machine. As yes, no and unknown for filters, and whole for who asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from changeover.app.shelf import Shelf
from changeover.core.errors import ArtifactError
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import Fit, Hardware, fit, fits_here, parse_hardware
from changeover.library.fit.context import shape_of
from changeover.library.fit.detect import Detected, detect
from changeover.library.gguf import read_header
from changeover.library.pull import artifact_path, present
from changeover.library.running import Shape
from changeover.serving.memory import budget_bytes

HERE: Final = "here"

Fits = Callable[[Card], bool | None]
"""None: it cannot be known."""

BEST: Final = ("fits", "tight", "unknown", "no")
"""Of several kinds of hardware in one machine: what may fit on one is not refused because of another."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a model shall be used; None: as it usually is."""

    context: int | None = None
    concurrency: int | None = None
    quantisation: str | None = None
    memory_gib: float | None = None
    """In place of what the hardware has."""


USUAL: Final = Use()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine, as models are held against it."""

    detected: Detected
    """Its accelerators."""
    memory_gib: float | None
    """What the project lets engines take; None: by the machine itself."""

    @cached_property
    def budget(self) -> int:
        """What engines may take, in bytes, when it was first asked for."""
        return budget_bytes(self.memory_gib)


def this_machine(catalogue: Catalogue, memory_gib: float | None) -> Machine:
    """Look for its accelerators, by their vendors' tools."""
    return Machine(detected=detect(catalogue.accelerators()), memory_gib=memory_gib)


def fits_on(shelf: Shelf, hardware: str) -> Fits:
    """What tells whether a model fits; `hardware` is `here`, or an accelerator and a number, such as `h100×8`.

    Raises:
        ConfigError: It is not written so.
        UnknownModelError: There is no such accelerator.
    """
    if hardware == HERE:
        declared = None if shelf.project is None else shelf.project.settings.engines.memory_gib
        machine = this_machine(shelf.catalogue, declared)
        return lambda card: known(fits_at_all(card, machine))
    named = parse_hardware(hardware, shelf.catalogue)
    return lambda card: known([fit(card, named.accelerator, named.count)])


def fits_at_all(card: Card, machine: Machine) -> list[Fit]:
    """By the embedded engine on the machine's memory, and on any accelerator that it has."""
    local = fits_here(card, machine.budget)
    return [local, *(fit(card, each.accelerator, each.count) for each in machine.detected.found)]


def known(judged: Sequence[Fit]) -> bool | None:
    """Whether it fits on any."""
    verdicts = {one.verdict for one in judged}
    if verdicts & {"fits", "tight"}:
        return True
    return None if "unknown" in verdicts else False


def best_of(judged: Sequence[Fit]) -> Fit:
    """Where it would run best."""
    return min(judged, key=lambda one: BEST.index(one.verdict))


def judged_on(card: Card, hardware: Hardware, catalogue: Catalogue, use: Use = USUAL) -> Fit:
    """On so many cards of one kind, with what would make it fit."""
    accelerator = hardware.accelerator
    if use.memory_gib is not None:
        accelerator = accelerator.model_copy(update={"memory_gib": use.memory_gib})
    return fit(
        card,
        accelerator,
        hardware.count,
        context=use.context,
        concurrency=use.concurrency,
        quantisation=use.quantisation,
        siblings=_siblings(card, catalogue),
    )


def judged_here(card: Card, machine: Machine, catalogue: Catalogue, cache: Path, use: Use = USUAL) -> list[Fit]:
    """On each kind of accelerator that the machine has, and last on its processor."""
    found = [judged_on(card, Hardware(one.accelerator, one.count), catalogue, use) for one in machine.detected.found]
    local = fits_here(
        card,
        budget_bytes(use.memory_gib or machine.memory_gib),
        context=use.context,
        concurrency=use.concurrency,
        quantisation=use.quantisation,
        shape=_shape_here(card, cache),
        siblings=_siblings(card, catalogue),
    )
    return [*found, replace(local, notes=(*local.notes, *machine.detected.unknown))]


def _shape_here(card: Card, cache: Path) -> Shape | None:
    """The shape by the weights' own header, where they are on this machine."""
    for artifact in card.artifacts:
        if artifact.format == "gguf" and present(artifact, cache):
            try:
                return shape_of(read_header(artifact_path(artifact, cache)))
            except ArtifactError:
                return None  # `pull` says what is wrong with it; here it is as if there were none
    return None


def _siblings(card: Card, catalogue: Catalogue) -> list[Card]:
    return [one for one in catalogue.cards() if one.family == card.family and one.id != card.id]

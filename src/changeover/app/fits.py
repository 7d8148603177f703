"""Whether models fit hardware: named, or that of this machine. For filters, where yes, no and unknown are enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from changeover.app.shelf import Shelf
from changeover.library.cards import Card
from changeover.library.fit import Fit, fit, fits_here, parse_hardware
from changeover.library.fit.detect import detect
from changeover.serving.memory import budget_bytes

HERE: Final = "here"

Fits = Callable[[Card], bool | None]
"""None: it cannot be known."""


def fits_on(shelf: Shelf, hardware: str) -> Fits:
    """What tells whether a model fits; `hardware` is `here`, or an accelerator and a number, such as `h100×8`.

    Raises:
        ConfigError: It is not written so.
        UnknownModelError: There is no such accelerator.
    """
    if hardware == HERE:
        return _here(shelf)
    named = parse_hardware(hardware, shelf.catalogue)
    return lambda card: _known([fit(card, named.accelerator, named.count)])


def _here(shelf: Shelf) -> Fits:
    """By the embedded engine on this machine's memory, or on any accelerator that it has."""
    memory = budget_bytes(None if shelf.project is None else shelf.project.settings.engines.memory_gib)
    found = detect(shelf.catalogue.accelerators()).found

    def fits(card: Card) -> bool | None:
        local = fits_here(card, memory)
        return _known([local, *(fit(card, each.accelerator, each.count) for each in found)])

    return fits


def _known(judged: Sequence[Fit]) -> bool | None:
    verdicts = {one.verdict for one in judged}
    if verdicts & {"fits", "tight"}:
        return True
    return None if "unknown" in verdicts else False

"""What no memory helps with: weights that nobody can load, and outputs that the embedded engine does not make."""

from __future__ import annotations

from changeover.library.cards import Card
from changeover.library.fit.answer import Fit


def closed(card: Card, hardware: str, *, context: int | None, concurrency: int | None) -> Fit | None:
    """The answer for closed weights, on any hardware; None: they are open, or nobody knows."""
    if card.weights != "closed":
        return None
    hosts = ", ".join(dict.fromkeys(each.host for each in card.hosted)) or "its host"
    why = f"Its weights are closed, so that no hardware of yours can run it: it answers at {hosts} only."
    return _refused(card, hardware, why, context, concurrency)


def writes_no_text(card: Card, hardware: str, *, context: int | None, concurrency: int | None) -> Fit | None:
    """The answer of the embedded engine for a model that is known to write something else than text; None: it may."""
    if not card.modalities_out or "text" in card.modalities_out:
        return None
    engines = ", ".join(dict.fromkeys(each.engine for each in card.engines))
    other = f" Engines that run it: {engines}." if engines else ""
    why = f"It writes {', '.join(card.modalities_out)}, and the embedded engine writes text only.{other}"
    return _refused(card, hardware, why, context, concurrency)


def _refused(card: Card, hardware: str, why: str, context: int | None, concurrency: int | None) -> Fit:
    return Fit(
        model=card.id,
        hardware=hardware,
        verdict="no",
        needs_bytes=None,
        has_bytes=None,
        total_bytes=None,
        context_tokens=context or card.context_tokens or 0,
        concurrency=concurrency or 1,
        quantisation=None,
        notes=(why,),
    )

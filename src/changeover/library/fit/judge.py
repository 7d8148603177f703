"""The judgement: does a model fit, and how does it run. Pure; every figure comes from cards."""

from __future__ import annotations

from collections.abc import Sequence

from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.fit.answer import Fit
from changeover.library.running import Shape


def fit(
    card: Card,
    accelerator: Accelerator,
    count: int,
    *,
    context: int | None = None,
    concurrency: int | None = None,
    quantisation: str | None = None,
    siblings: Sequence[Card] = (),
) -> Fit:
    """Whether a model fits so many cards of an accelerator.

    Args:
        card: The model.
        accelerator: What it shall run on.
        count: Cards; more than a node has are several nodes.
        context: Tokens of each request, prompt and answer; None: what the model takes, at most 32,768.
        concurrency: Requests at once, each with its whole context; None: 4.
        quantisation: Of the weights; None: the one that the card's weights come in.
        siblings: Cards that are offered where it does not fit, if they do.
    """
    return Fit(
        model=card.id,
        hardware=f"{accelerator.id}x{count}",
        verdict="unknown",
        needs_bytes=None,
        has_bytes=None,
        total_bytes=None,
        context_tokens=context or 32_768,
        concurrency=concurrency or 4,
        quantisation=quantisation,
        missing=("nothing is computed yet",),
    )


def fits_here(
    card: Card,
    memory_bytes: int,
    *,
    context: int | None = None,
    concurrency: int | None = None,
    quantisation: str | None = None,
    shape: Shape | None = None,
    siblings: Sequence[Card] = (),
) -> Fit:
    """Whether a model fits this machine's memory, in the embedded engine.

    Args:
        card: The model.
        memory_bytes: What all engines may use together, less what runs.
        context: Tokens of each request; None: 4,096, the engine's default, or what the model takes if that is less.
        concurrency: Requests at once; None: 4, the engine's default.
        quantisation: None: that of the card's first artifact.
        shape: Of the weights' own header, where they are here; None: the card's.
        siblings: Cards that are offered where it does not fit, if they do.
    """
    return Fit(
        model=card.id,
        hardware="here",
        verdict="unknown",
        needs_bytes=None,
        has_bytes=memory_bytes,
        total_bytes=memory_bytes,
        context_tokens=context or 4096,
        concurrency=concurrency or 4,
        quantisation=quantisation,
        missing=("nothing is computed yet",),
    )

"""The judgement: does a model fit, and how does it run. Pure; every figure comes from cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.fit.answer import Fit, Remedy, Verdict
from changeover.library.fit.commands import command_for, flags_for
from changeover.library.fit.outright import closed
from changeover.library.fit.plan import RULE, Demand, Placed, place
from changeover.library.fit.quantisation import format_of, usual_quantisation
from changeover.library.fit.remedies import BETTER, largest, remedies_for
from changeover.library.fit.servers import engine_on, overhead_on
from changeover.library.running import EngineSupport

CONTEXT: Final = 32_768
"""Tokens of each request, where nobody says, of a model that takes more."""
CONCURRENCY: Final = 1
"""One whole context, which shorter requests share; `most_requests` says how many of them there is room for."""
MOST_REQUESTS: Final = 4096
"""Beyond it nobody counts."""


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
        concurrency: Requests at once, each with its whole context; None: 1, which shorter ones share.
        quantisation: Of the weights; None: the one that the card's weights come in.
        siblings: Cards that are offered where it does not fit, if they do.
    """
    hardware = f"{accelerator.id}x{count}"
    if (refused := closed(card, hardware, context=context, concurrency=concurrency)) is not None:
        return refused
    demand = Demand(
        card=card,
        accelerator=accelerator,
        quantisation=quantisation or usual_quantisation(card),
        context=context or min(CONTEXT, card.context_tokens or CONTEXT),
        concurrency=concurrency or CONCURRENCY,
    )
    placed, support = place(demand, count), engine_on(card, accelerator, demand.quantisation)
    missing = _missing(demand, placed, support)
    verdict = _verdict(demand, placed, support)
    engine = None if support is None else support.engine
    flags = _flags(demand, placed, engine, concurrency)
    command = None
    if engine is not None and verdict != "no":
        command = command_for(card, accelerator, engine, demand.quantisation, flags)
    return Fit(
        model=card.id,
        hardware=hardware,
        verdict=verdict,
        needs_bytes=None if placed is None else placed.needs,
        has_bytes=None if placed is None else placed.usable,
        total_bytes=None if placed is None else placed.total,
        context_tokens=demand.context,
        concurrency=demand.concurrency,
        most_requests=_most_requests(demand, placed),
        quantisation=demand.quantisation,
        parts=() if placed is None else placed.parts,
        layout=None if placed is None else placed.layout,
        engine=engine,
        flags=flags,
        command=command,
        published=None if placed is None else placed.published,
        remedies=_remedies(demand, count, placed, siblings),
        missing=missing,
        notes=tuple(_notes(demand, placed, support)),
    )


def _verdict(demand: Demand, placed: Placed | None, support: EngineSupport | None) -> Verdict:
    """What the placing says, unless it rests on an engine or a number format that nobody verified."""
    if placed is None:
        return "unknown"
    return "unknown" if placed.verdict in ("fits", "tight") and _undecided(demand, support) else placed.verdict


def _remedies(demand: Demand, count: int, placed: Placed | None, siblings: Sequence[Card]) -> tuple[Remedy, ...]:
    """What would make it fit better; nothing where it fits, or nobody knows."""
    if placed is None or placed.verdict not in BETTER:
        return ()
    return remedies_for(demand, count, placed.verdict, siblings)


def _flags(demand: Demand, placed: Placed | None, engine: str | None, concurrency: int | None) -> tuple[str, ...]:
    """What the engine is told of the layout; nothing where there is none, or where the model writes no text."""
    if placed is None or engine is None or not demand.writes:
        return ()
    usable = overhead_on(demand.accelerator).usable
    return flags_for(engine, placed.layout, demand.context, concurrency, usable)


def _most_requests(demand: Demand, placed: Placed | None) -> int | None:
    """Requests with the whole context that the layout's cards have room for; None where that is not computed."""
    if placed is None or demand.shape is None or placed.verdict not in ("fits", "tight"):
        return None
    cards = placed.layout.cards

    def fits(requests: int) -> bool:
        more = place(replace(demand, concurrency=requests), cards)
        return more is not None and more.verdict in ("fits", "tight")

    return largest(demand.concurrency, MOST_REQUESTS + 1, 1, fits)


def _undecided(demand: Demand, support: EngineSupport | None) -> bool:
    return support is None or _unverified_format(demand) is not None


def _unverified_format(demand: Demand) -> str | None:
    """The number format that the weights want, where nobody verified that the accelerator computes with it."""
    known = format_of(demand.quantisation)
    if known is None or known.computes is None or known.computes in demand.accelerator.native_formats:
        return None
    return known.computes if known.computes in demand.accelerator.unverified else None


def _missing(demand: Demand, placed: Placed | None, support: EngineSupport | None) -> tuple[str, ...]:
    found: list[str] = []
    if demand.weights.bytes is None:
        found.append(demand.weights.how)
    if demand.accelerator.memory_gib is None:
        found.append(f"how much memory `{demand.accelerator.id}` has")
    if demand.shape is None and placed is not None and demand.writes:
        found.append(f"layers and heads of `{demand.card.id}`, by which its context is computed")
    if support is None:
        found.append(f"an engine that runs `{demand.card.id}` on `{demand.accelerator.id}`")
    if (unverified := _unverified_format(demand)) is not None:
        found.append(f"whether `{demand.accelerator.id}` computes with {unverified}")
    return tuple(found)


def _notes(demand: Demand, placed: Placed | None, support: EngineSupport | None) -> list[str]:
    notes: list[str] = []
    accelerator, card = demand.accelerator, demand.card
    if placed is not None and demand.shape is None and placed.verdict != "unknown":
        why = "The shape is not known" if demand.writes else "It writes no text"
        notes.append(f"{why}: all beside the weights is taken as a fifth of them (× {RULE:g}).")
    shape = card.architecture.shape
    if shape is not None and shape.attention_layers is not None and shape.attention_layers < shape.layers:
        linear = shape.layers - shape.attention_layers
        notes.append(f"{linear} of {shape.layers} layers keep a state that does not grow; it is not counted.")
    if demand.limit is not None:
        notes.append(demand.limit.note)
    known = format_of(demand.quantisation)
    if (
        known is not None
        and known.computes is not None
        and known.computes not in accelerator.native_formats
        and known.computes not in accelerator.unverified
    ):
        notes.append(
            f"{accelerator.display_name} does not compute with {known.computes}: the engine unpacks the weights."
        )
    if {"image", "video"} & set(card.modalities_in):
        notes.append("What the engine sets aside for images and videos is not counted.")
    if support is not None:
        runs = next((each for each in card.engines if each.engine == support.engine), None)
        if runs is not None and runs.until is not None:
            notes.append(f"{runs.engine} has dropped it: {runs.until} was the last version that ran it.")
        notes += [support.note] if support.note else []
    return notes

"""Whether a model fits this machine's memory, in the embedded engine. Pure: how much there is, the caller says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from changeover.core.sizes import in_both
from changeover.library.artifacts import Artifact
from changeover.library.cards import Card
from changeover.library.fit.answer import Fit, Part, Remedy, RemedyKind, Verdict
from changeover.library.fit.context import context_bytes
from changeover.library.fit.embedded import PROCESS_BYTES, PROMPTS_BYTES, estimate
from changeover.library.fit.outright import closed, writes_no_text
from changeover.library.fit.plan import RULE, TIGHT
from changeover.library.fit.quantisation import Weights, weights_of
from changeover.library.fit.remedies import (
    MOST_QUANTISATIONS,
    MOST_SIBLINGS,
    STEP,
    largest,
    no_longer,
    smaller_quantisations,
    smaller_siblings,
)
from changeover.library.running import Shape

CONTEXT: Final = 4096
CONCURRENCY: Final = 4
"""Both are the embedded engine's defaults."""
COMMON: Final = ("Q8_0", "Q4_K_M")
"""Quantisations that are common for GGUF files."""
SHORTEST: Final = 256
"""Tokens of context below which the engine is not started."""


@dataclass(frozen=True)
class Local:
    """What is asked of this machine."""

    card: Card
    memory: int
    quantisation: str
    context: int
    concurrency: int
    shape: Shape | None

    @property
    def weights(self) -> Weights:
        return weights_of(self.card, self.quantisation)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it takes; the last part is the margin, or all that is not known."""
        weights = self.weights
        if weights.bytes is None:
            return ()
        held = Part(name="weights", bytes=weights.bytes, how=weights.how)
        kept = None if self.shape is None else context_bytes(self.shape, self.context, self.concurrency)
        tokens = f"{self.concurrency} × {self.context:,} tokens"
        if kept is None:
            rest = round(weights.bytes * (RULE - 1)) + PROCESS_BYTES + PROMPTS_BYTES
            return (held, Part(name="context", bytes=rest, how=f"{tokens} and all else, by rule"))
        process = PROCESS_BYTES + PROMPTS_BYTES
        margin = estimate(weights.bytes, kept) - weights.bytes - kept - process
        return (
            held,
            Part(name="context", bytes=kept, how=f"{tokens} in 16 bits"),
            Part(name="process", bytes=process, how="the engine, and prompts that it keeps"),
            Part(name="margin", bytes=margin, how="a tenth, since it is an estimate"),
        )

    @property
    def needs(self) -> int | None:
        return sum(part.bytes for part in self.parts) or None

    @property
    def verdict(self) -> Verdict:
        """By memory alone."""
        if self.needs is None:
            return "unknown"
        return "no" if self.needs > self.memory else "tight" if self.needs > self.memory * TIGHT else "fits"

    @property
    def fits(self) -> bool:
        return self.verdict in ("fits", "tight")


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
        quantisation: None: that of the card's first GGUF file, or Q4_K_M where it has none.
        shape: Of the weights' own header, where they are here; None: the card's.
        siblings: Cards that are offered where it does not fit, if they do.
    """
    for outright in (closed, writes_no_text):
        if (refused := outright(card, "here", context=context, concurrency=concurrency)) is not None:
            return refused
    asked = Local(
        card=card,
        memory=memory_bytes,
        quantisation=quantisation or _usual(card),
        context=min(context or CONTEXT, card.context_tokens or CONTEXT),
        concurrency=concurrency or CONCURRENCY,
        shape=shape or card.architecture.shape,
    )
    file = _file(card, asked.quantisation)
    missing = tuple(_missing(asked, file))
    flags = (f"--context {asked.context}", f"--slots {asked.concurrency}")
    verdict = asked.verdict
    if file is None and verdict != "no":
        verdict = "unknown"
    runs = file is not None and verdict != "no"
    return Fit(
        model=card.id,
        hardware="here",
        verdict=verdict,
        needs_bytes=asked.needs,
        has_bytes=memory_bytes,
        total_bytes=memory_bytes,
        context_tokens=asked.context,
        concurrency=asked.concurrency,
        quantisation=asked.quantisation,
        parts=asked.parts,
        engine=None if file is None else "llama.cpp",
        flags=flags,
        command=" ".join(("changeover deploy", card.id, *flags)) if runs else None,
        remedies=tuple(_remedies(asked, siblings)) if asked.verdict in ("no", "tight") else (),
        missing=missing,
    )


def _usual(card: Card) -> str:
    return next((artifact.quantisation for artifact in card.artifacts if artifact.format == "gguf"), "Q4_K_M")


def _file(card: Card, quantisation: str) -> Artifact | None:
    wanted = quantisation.casefold()
    for artifact in card.artifacts:
        if artifact.format == "gguf" and artifact.quantisation.casefold() == wanted:
            return artifact
    return None


def _missing(asked: Local, file: Artifact | None) -> Iterator[str]:
    if asked.weights.bytes is None:
        yield asked.weights.how
    if asked.shape is None and asked.parts:
        yield f"layers and heads of `{asked.card.id}`, by which its context is computed"
    if file is None:
        yield f"a GGUF file of `{asked.card.id}` in {asked.quantisation}, which is all that the embedded engine loads"


def _remedies(asked: Local, siblings: Sequence[Card]) -> Iterator[Remedy]:
    own = tuple(each.quantisation for each in asked.card.artifacts if each.format == "gguf")
    less = (
        replace(asked, quantisation=name) for name in smaller_quantisations(asked.card, asked.quantisation, own, COMMON)
    )
    for other in islice((each for each in less if each.fits), MOST_QUANTISATIONS):
        unsure = "" if other.quantisation in own else ", if somebody has made them"
        yield _remedy("quantisation", f"weights in {other.quantisation}{unsure}", other.quantisation, other)
    if asked.shape is not None and asked.verdict == "no":
        step = STEP if asked.context > STEP else SHORTEST
        tokens = largest(SHORTEST, asked.context, step, lambda number: replace(asked, context=number).fits)
        if tokens is not None:
            words = f"{tokens:,} tokens of context for each of {asked.concurrency} requests"
            yield _remedy("context", words, str(tokens), replace(asked, context=tokens))
        requests = largest(1, asked.concurrency, 1, lambda number: replace(asked, concurrency=number).fits)
        if requests is not None:
            words = f"{requests} requests at once with {asked.context:,} tokens each"
            yield _remedy("concurrency", words, str(requests), replace(asked, concurrency=requests))
    smaller = (
        replace(
            asked,
            card=card,
            quantisation=_usual(card),
            shape=card.architecture.shape,
            context=no_longer(asked.context, card),
        )
        for card in smaller_siblings(asked.card, siblings)
        if _file(card, _usual(card)) is not None
    )
    for other in islice((each for each in smaller if each.fits), MOST_SIBLINGS):
        words = f"{other.card.id} in {other.quantisation} with {other.context:,} tokens"
        yield _remedy("sibling", words, other.card.id, other)


def _remedy(kind: RemedyKind, words: str, value: str, asked: Local) -> Remedy:
    needs = asked.needs or 0
    return Remedy(kind=kind, words=f"{words}: {in_both(needs)}", value=value, needs_bytes=needs)

"""What would make a model fit: fewer bits, a shorter context, fewer requests at once, more cards, a smaller sibling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Final

from changeover.core.sizes import in_both
from changeover.library.cards import Card
from changeover.library.fit.answer import Remedy, Verdict
from changeover.library.fit.plan import Demand, Placed, place
from changeover.library.fit.quantisation import format_of, usual_quantisation, weights_of

BETTER: Final[Mapping[Verdict, tuple[Verdict, ...]]] = MappingProxyType({"no": ("fits", "tight"), "tight": ("fits",)})
"""By the verdict now: those that are better."""
STEP: Final = 1024
"""Tokens by which a shorter context is looked for."""
MOST_NODES: Final = 16
MOST_QUANTISATIONS: Final = 2
MOST_SIBLINGS: Final = 2
SERVED: Final = ("fp8", "int4")
"""Quantisations that are offered for servers where the card names none that fits."""


def remedies_for(demand: Demand, count: int, now: Verdict, siblings: Sequence[Card]) -> tuple[Remedy, ...]:
    """What would make it fit so many cards, or which cards it would fit; nothing where that is not known.

    What fits tightly is only helped by what makes it fit well.
    """
    wanted = BETTER[now]
    fits = _fitting(count, wanted)
    found = [
        *_quantisations(demand, fits),
        *_nodes(demand, count, wanted),
        *_shorter(demand, fits),
        *_fewer(demand, fits),
        *_siblings(demand, siblings, fits),
    ]
    return tuple(found)


def largest(low: int, high: int, step: int, fits: Callable[[int], bool]) -> int | None:
    """The largest multiple of `step` from `low` to below `high` that fits; what fits stays so below it."""
    first, last = -(-low // step), (high - 1) // step
    if first > last or not fits(first * step):
        return None
    while first < last:
        middle = (first + last + 1) // 2
        if fits(middle * step):
            first = middle
        else:
            last = middle - 1
    return first * step


def smaller_quantisations(card: Card, quantisation: str, own: Iterable[str], common: Iterable[str]) -> list[str]:
    """Those in which the weights take less: the card's own first, largest first; then common ones, the same way."""
    now, named = weights_of(card, quantisation).bytes, tuple(own)
    sized = {name: weights_of(card, name).bytes for name in dict.fromkeys([*named, *common])}
    less = [name for name, count in sized.items() if count is not None and now is not None and count < now]
    return sorted(less, key=lambda name: (name not in named, -(sized[name] or 0)))


def smaller_siblings(card: Card, siblings: Iterable[Card]) -> list[Card]:
    """Cards with fewer parameters, the largest of them first."""
    if card.parameters_b is None:
        return []
    less = [one for one in siblings if one.parameters_b is not None and one.parameters_b < card.parameters_b]
    return sorted(less, key=lambda one: -(one.parameters_b or 0))


def no_longer(context: int, card: Card) -> int:
    """A context, or what a model takes if that is less."""
    return min(context, card.context_tokens or context)


def _fitting(count: int, wanted: tuple[Verdict, ...]) -> Callable[[Demand], Placed | None]:
    def fits(demand: Demand) -> Placed | None:
        placed = place(demand, count)
        return placed if placed is not None and placed.verdict in wanted else None

    return fits


def _quantisations(demand: Demand, fits: Callable[[Demand], Placed | None]) -> Iterator[Remedy]:
    own = tuple(each.quantisation for each in demand.card.memory)
    fitting = (
        (name, placed)
        for name in smaller_quantisations(demand.card, demand.quantisation, own, SERVED)
        if (placed := fits(replace(demand, quantisation=name))) is not None
    )
    for name, placed in islice(fitting, MOST_QUANTISATIONS):
        known = format_of(name)
        unsure = "" if name in own else ", if somebody has made them"
        if known is not None and known.computes in demand.accelerator.unverified:
            unsure += f" (whether {demand.accelerator.id} computes with {known.computes} is not verified)"
        yield Remedy(
            kind="quantisation",
            words=f"weights in {name}{unsure}: {in_both(placed.needs)} on {_cards(placed)}",
            value=name,
            needs_bytes=placed.needs,
        )


def _nodes(demand: Demand, count: int, wanted: tuple[Verdict, ...]) -> Iterator[Remedy]:
    per_node = demand.accelerator.per_node or 1
    wider = [2**power for power in range(1, 4) if count < 2**power <= per_node]
    for cards in (*wider, *(per_node * nodes for nodes in range(2, MOST_NODES + 1))):
        placed = None if cards <= count else _fitting(cards, wanted)(demand)
        if placed is not None:
            nodes = f" in {placed.layout.nodes} nodes" if placed.layout.nodes > 1 else ""
            yield Remedy(
                kind="cards",
                words=f"{_cards(placed)}{nodes}: {in_both(placed.needs)} of {in_both(placed.usable)} usable",
                value=f"{demand.accelerator.id}x{placed.layout.cards}",
                needs_bytes=placed.needs,
            )
            return


def _shorter(demand: Demand, fits: Callable[[Demand], Placed | None]) -> Iterator[Remedy]:
    if demand.shape is None:
        return
    tokens = largest(2 * STEP, demand.context, STEP, lambda context: fits(replace(demand, context=context)) is not None)
    if tokens is not None and (placed := fits(replace(demand, context=tokens))) is not None:
        yield Remedy(
            kind="context",
            words=f"{tokens:,} tokens of context for each of {demand.concurrency} requests: {in_both(placed.needs)}",
            value=str(tokens),
            needs_bytes=placed.needs,
        )


def _fewer(demand: Demand, fits: Callable[[Demand], Placed | None]) -> Iterator[Remedy]:
    if demand.shape is None:
        return
    requests = largest(1, demand.concurrency, 1, lambda number: fits(replace(demand, concurrency=number)) is not None)
    if requests is not None and (placed := fits(replace(demand, concurrency=requests))) is not None:
        yield Remedy(
            kind="concurrency",
            words=f"{requests} requests at once with {demand.context:,} tokens each: {in_both(placed.needs)}",
            value=str(requests),
            needs_bytes=placed.needs,
        )


def _siblings(demand: Demand, siblings: Sequence[Card], fits: Callable[[Demand], Placed | None]) -> Iterator[Remedy]:
    smaller = (
        replace(demand, card=card, quantisation=usual_quantisation(card), context=no_longer(demand.context, card))
        for card in smaller_siblings(demand.card, siblings)
    )
    fitting = ((other, placed) for other in smaller if (placed := fits(other)) is not None)
    for other, placed in islice(fitting, MOST_SIBLINGS):
        yield Remedy(
            kind="sibling",
            words=f"{other.card.id} in {other.quantisation} with {other.context:,} tokens: {in_both(placed.needs)} "
            f"on {_cards(placed)}",
            value=other.card.id,
            needs_bytes=placed.needs,
        )


def _cards(placed: Placed) -> str:
    count = placed.layout.cards
    return f"{count} card{'s' if count > 1 else ''}"

"""Which cards follow a model in its line: newer versions of the same thing. Trials start from here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.lineage import Model, card_named, find_card, plain_name

TEXT = "text"
"""What every task asks with, and is answered in."""
NEAR = 3.0
"""Of two versions one has so many times the parameters of the other at most; beyond it stands in for something else."""
SAME = 1.1
"""So near are the counts of one size, as vendors round them."""
_VERSION = re.compile(r"(?:(?<=[-._])v)?\d+(?:\.\d+)*")


@dataclass(frozen=True, kw_only=True)
class Successor:
    """A card that follows a model, and why it is thought to."""

    card: Card
    reason: str
    """As the middle of a sentence."""
    named: bool
    """Whether a card says so, and not only family and date."""


def successors(catalogue: Catalogue, model: Model) -> tuple[Successor, ...]:
    """Newer versions of a model: those that its card names first, then the newest, then those nearest in size.

    A card follows another where that one names it as `lineage.successor`, directly or over several versions; or where
    both are of one line (`line_of`), it was released later, it is of the same kind (it reads and writes at least the
    same modalities and follows a conversation if the other does), and it is of a like size: up to three times larger or
    smaller, or of unknown size. Within one family, whose models appear in several sizes, only the same size counts.
    A model without a card has no known successor.
    """
    card = find_card(catalogue, model)
    if card is None:
        return ()
    named = {follower.id: before for before, follower in _named(catalogue, card)}
    found = [
        Successor(card=catalogue.card(id), reason=f"the card of {before.id} names it", named=True)
        for id, before in named.items()
    ]
    found += [
        Successor(card=other, reason=_newer_reason(other, card), named=False)
        for other in catalogue.cards()
        if other.id not in (card.id, *named) and _is_newer(other, card)
    ]
    return tuple(sorted(found, key=lambda each: _order(each, card)))


def line_of(card: Card) -> str:
    """The line that a card belongs to: its family's name without the version, with the vendor.

    `qwen2.5-coder` and `qwen3-coder` of one vendor are one line; `qwen3` is another.
    """
    family = _VERSION.sub("", plain_name(card.family))
    return f"{card.vendor.casefold()}/{'-'.join(word for word in re.split(r'[-._ ]+', family) if word)}"


def unfit(card: Card) -> str | None:
    """Why a card can serve no task at all, as a sentence's middle; None where it can."""
    if not card.modalities_in or not card.modalities_out:
        return "its card does not say what it reads and writes"
    if TEXT not in card.modalities_in:
        return f"it reads {', '.join(card.modalities_in)}, and tasks ask with text"
    if TEXT not in card.modalities_out:
        return f"it writes {', '.join(card.modalities_out)}, and tasks are answered in text"
    if not _converses(card):
        return "it is a base model, which follows no conversation"
    return None


def _converses(card: Card) -> bool:
    """Whether it follows a conversation. How it wants one written is not known of every model that does."""
    return card.chat_format is not None or "dialogue" in card.scenarios


def _named(catalogue: Catalogue, card: Card) -> Iterator[tuple[Card, Card]]:
    """Each card that names a successor with a card, with that one."""
    before, seen = card, {card.id}
    while before.lineage.successor and (after := card_named(catalogue, before.lineage.successor)) is not None:
        if after.id in seen:
            return
        yield before, after
        before = after
        seen.add(after.id)


def _is_newer(other: Card, card: Card) -> bool:
    return (
        line_of(other) == line_of(card)
        and other.released is not None
        and card.released is not None
        and other.released > card.released
        and set(card.modalities_in) <= set(other.modalities_in)
        and set(card.modalities_out) <= set(other.modalities_out)
        and (_converses(other) or not _converses(card))
        and other.lineage.successor != card.id
        and _like_in_size(other, card)
    )


def _like_in_size(other: Card, card: Card) -> bool:
    """Whether one may be the other's next version, and no sibling of another size."""
    siblings = plain_name(other.family) == plain_name(card.family)
    if other.parameters_b is None or card.parameters_b is None:
        return not siblings
    small, large = sorted((other.parameters_b, card.parameters_b))
    return large <= small * (SAME if siblings else NEAR)


def _newer_reason(other: Card, card: Card) -> str:
    return f"of the same line as {card.id} and released later, on {other.released_on}"


def _order(successor: Successor, card: Card) -> tuple[bool, int, float, str]:
    other = successor.card
    age = 0 if other.released is None else -other.released.toordinal()
    apart = abs((other.parameters_b or 0.0) - (card.parameters_b or 0.0))
    return not successor.named, age, apart, other.id

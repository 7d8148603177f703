"""Which cards answer a query best: the orders by spelling and by meaning, fused by rank, for they have no common scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from changeover.library.cards import Card
from changeover.library.search.lexical import LexicalIndex, Match

RANK_OFFSET: Final = 10
"""How much less the first rank counts than it could (k of reciprocal rank fusion; Cormack, Clarke and Büttcher, SIGIR 2009,
use 60 for thousands of documents)."""


class Meaning(Protocol):
    """What orders cards by meaning."""

    def search(self, query: str) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A card that answers a query."""

    card: Card
    score: float
    """1 for who is first by every order there is. Not a probability."""
    scenarios: tuple[str, ...]
    """What the query and the card are both about, as far as words say it."""


def ranked(
    query: str,
    cards: Iterable[Card],
    meaning: Meaning | None = None,
    *,
    prefer: Callable[[Card], Any] = lambda card: card.id,
) -> list[Hit]:
    """Cards for a query, the best first.

    Args:
        query: In any language.
        cards: What is searched.
        meaning: The order by meaning; None: by spelling alone, and cards that say no word of the query are left out.
        prefer: Sorts those that are equally good, smallest first.
    """
    cards = list(cards)
    matches = LexicalIndex(cards).search(query)
    orders = [_ranks({id: match.score for id, match in matches.items()})]
    if meaning is not None:
        orders.append(_ranks(meaning.search(query)))
    best = len(orders) / (RANK_OFFSET + 1)
    scores = {
        card.id: sum(1 / (RANK_OFFSET + order[card.id]) for order in orders if card.id in order) / best for card in cards
    }
    nothing = Match(score=0.0, matched=())
    hits = [
        Hit(card=card, score=scores[card.id], scenarios=matches.get(card.id, nothing).matched)
        for card in cards
        if scores[card.id] > 0
    ]
    return sorted(hits, key=lambda hit: (-round(hit.score, 6), prefer(hit.card)))


def _ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """The rank of each, from 1; those with one score share the first rank among them."""
    ranks: dict[str, int] = {}
    ordered = sorted(scores.items(), key=lambda each: -each[1])
    for place, (id, score) in enumerate(ordered, start=1):
        before = ordered[place - 2] if place > 1 else None
        ranks[id] = ranks[before[0]] if before is not None and round(before[1], 6) == round(score, 6) else place
    return ranks

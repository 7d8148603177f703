"""Which cards answer a query best: the orders by spelling and by meaning, fused by rank, for they have no common scale."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from changeover.library.cards import Card
from changeover.library.search.fusion import fused, ranks
from changeover.library.search.lexical import LexicalIndex, Match
from changeover.library.search.spelling import words
from changeover.library.search.vocabulary import vocabulary

ENOUGH: Final = 0.25
"""Share of the best score by spelling below which a card is left out."""
ONE_OF_SEVERAL: Final = 0.75
"""What a card keeps of its score at least that is for one of several scenarios which say every word of the query:
invoices are read from text and from pictures, and who reads both is the better answer."""
OTHER_LANGUAGE: Final = 0.5
"""What a card keeps that is known to be for other languages than the one that is asked for."""
NEAR: Final = 0.02
"""How far behind the nearest in meaning a card is still about the same. Cosines of the model lie close together."""


SIGNS: Final = {"ja": re.compile(r"[\u3040-\u30ff]"), "ko": re.compile(r"[\uac00-\ud7af]")}
"""Signs that only one language is written with."""


class Meaning(Protocol):
    """What orders cards by meaning."""

    def search(self, query: str) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A card that answers a query."""

    card: Card
    score: float
    """1 for who is first by every order there is, and lacks nothing that is asked for. Not a probability."""
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
    orders: list[Mapping[str, float]] = [{id: match.score for id, match in matches.items()}]
    if meaning is not None:
        orders.append(meaning.search(query))
    relevant = _saying_enough(orders[0]) | (_near_enough(orders[1]) if meaning is not None else set[str]())
    relevant = {id for id, match in matches.items() if match.named} or relevant
    ordered = [ranks(order) for order in orders]
    nothing = Match(score=0.0, matched=(), whole=(), named=False)
    most = max((len(match.whole) for match in matches.values()), default=0)
    named = languages_named(query)
    hits = [
        Hit(
            card=card,
            score=fused(card.id, ordered) * _covered(matches.get(card.id, nothing), most) * _spoken(card, named),
            scenarios=matches.get(card.id, nothing).matched,
        )
        for card in cards
        if card.id in relevant
    ]
    return sorted(hits, key=lambda hit: (-round(hit.score, 6), prefer(hit.card)))


def languages_named(query: str) -> frozenset[str]:
    """Codes of the languages that a query names, or is written in where its signs say so."""
    asked = set(words(query))
    named = {code for code, said in vocabulary().spoken.items() if asked & said}
    return frozenset(named | {code for code, signs in SIGNS.items() if signs.search(query)})


def _covered(match: Match, most: int) -> float:
    """What a card keeps that is for fewer of the scenarios that say the whole query than others are."""
    return 1.0 if most == 0 else ONE_OF_SEVERAL + (1 - ONE_OF_SEVERAL) * len(match.whole) / most


def _spoken(card: Card, named: frozenset[str]) -> float:
    """What a card keeps whose vendor names its languages, and not the one that is asked for. Unknown costs nothing."""
    known = {tag.split("-")[0] for tag in card.languages}
    return OTHER_LANGUAGE if known and named - known else 1.0


def _saying_enough(scores: Mapping[str, float]) -> set[str]:
    """Those that are not far behind the best by spelling: one common word of many is chance."""
    best = max(scores.values(), default=0.0)
    return {id for id, score in scores.items() if score >= ENOUGH * best}


def _near_enough(scores: Mapping[str, float]) -> set[str]:
    best = max(scores.values(), default=0.0)
    return {id for id, score in scores.items() if score >= best - NEAR}

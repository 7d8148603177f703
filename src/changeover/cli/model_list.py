"""What `changeover models` does: list what passes the filters, here; or search that, or show one card, by other modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from changeover.app.model_words import billions, short_tokens
from changeover.app.shelf import Presence, Shelf, open_shelf
from changeover.cli.columns import UNKNOWN, Cell, Columns, clipped, hanging, widest
from changeover.cli.frame import out, print_json
from changeover.cli.model_words import OUTCOME_BRIEF, OUTCOME_WORDS
from changeover.cli.signature import later
from changeover.core.errors import ConfigError, UnknownModelError
from changeover.library.cards import Card
from changeover.library.search.filters import Filtered, Filters, filtered

page = later("changeover.cli.model_card")
searching = later("changeover.cli.model_search")
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
        searching().search(shelf, " ".join(words), found, most, as_json=as_json)
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
    cards = sorted(found.cards, key=lambda card: (not shelf.presence(card).at_all, card.id))
    if as_json:
        print_json({"models": [model_row(shelf, card) for card in cards], "unknown": found.unknown})
        return
    for line in list_lines(shelf, cards, out.width):
        out.print(line)
    if not cards:
        out.print("no card passes these filters", style="dim")
    for line in unknown_lines(found, out.width):
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
    outcome, use = shelf.judgement(card).outcome, shelf.presence(card)
    reads, writes = "+".join(card.modalities_in), "+".join(card.modalities_out)
    return {
        "model": Cell(card.id, "bold" if use.at_all else ""),
        "size": _cell(billions(card.parameters_b)),
        "context": _cell(None if card.context_tokens is None else short_tokens(card.context_tokens)),
        "in → out": _cell(clipped(f"{reads} → {writes}", MOST_MODALITIES) if reads or writes else None),
        "licence": Cell("closed", "yellow") if card.weights == "closed" else _cell(card.licence_id),
        "policy": Cell(OUTCOME_BRIEF[outcome], OUTCOME_WORDS[outcome][1]),
        "released": _cell(card.released_on),
        "here": Cell(_here(use), "green" if use.tasks else ""),
    }


def _cell(text: str | None) -> Cell:
    return Cell(UNKNOWN, "dim") if text is None else Cell(text)


def _here(use: Presence) -> str:
    if use.tasks:
        return f"answers {', '.join(use.tasks)}"
    if use.deployments:
        return f"deployed as {', '.join(use.deployments)}"
    return "fetched" if use.fetched else ""


def model_row(shelf: Shelf, card: Card) -> dict[str, Any]:
    """A card in the JSON of lists."""
    return {**card.model_dump(mode="json"), "outcome": shelf.judgement(card).outcome, "here": shelf.presence(card)}


def unknown_lines(found: Filtered, width: int) -> list[Text]:
    """How many cards were left out for a fact that nobody knows."""
    if not found.unknown:
        return []
    counted = [f"{count} more whose {fact} is unknown" for fact, count in found.unknown.items()]
    return hanging("", Text("; ".join(counted), "dim"), width)

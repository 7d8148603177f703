"""The page of one model: every fact with its source, and what this installation may do and did with it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from changeover.app.card_rows import Row, Section, sections_of, sections_of_accelerator
from changeover.app.shelf import Shelf
from changeover.app.whole_card import WholeCard, accelerator_document, whole_card
from changeover.cli.frame import out, print_json
from changeover.cli.model_words import STYLES
from changeover.cli.page import Page
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card


def show_model(shelf: Shelf, card: Card, *, as_json: bool) -> None:
    """Print a model whole."""
    whole = whole_card(shelf, card)
    if as_json:
        print_json(whole.document())
    else:
        model_page(whole, out.width).show()


def show_accelerator(accelerator: Accelerator, *, as_json: bool) -> None:
    """Print an accelerator whole."""
    if as_json:
        print_json(accelerator_document(accelerator))
    else:
        accelerator_page(accelerator, out.width).show()


def model_page(whole: WholeCard, width: int) -> Page:
    """A model's page."""
    page, card = Page(width), whole.card
    page.lines.append(
        Text.assemble((card.display_name, "bold"), ("" if card.id == card.display_name else f"  {card.id}", "dim"))
    )
    if card.scenarios:
        page.lines.append(Text(f"for {', '.join(card.scenarios)}"))
    _write(page, sections_of(whole))
    return page


def accelerator_page(accelerator: Accelerator, width: int) -> Page:
    """An accelerator's page."""
    page = Page(width)
    names = ", ".join((accelerator.id, *accelerator.aliases))
    page.lines.append(Text.assemble((accelerator.display_name, "bold"), (f"  {names}", "dim")))
    _write(page, sections_of_accelerator(accelerator))
    return page


def _write(page: Page, sections: Iterable[Section]) -> None:
    for section in sections:
        page.section(section.title)
        for row in section.rows:
            if row.copied:
                page.plain(row.text, STYLES[row.said[0].tone] if row.said else "", label=row.label)
            else:
                page.row(row.label, _text(row), row.sources)
    page.sources()


def _text(row: Row) -> Text | None:
    if row.said is None:
        return None
    return Text.assemble(*((each.text, STYLES[each.tone]) for each in row.said))

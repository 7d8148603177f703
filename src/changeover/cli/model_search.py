"""The search of `changeover models`: cards ranked for what somebody wants to do, and how to ask the best of them."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from changeover.app.first_call import FirstCall, first_call
from changeover.app.model_search import Search, first_calls, nothing_found
from changeover.app.model_search import search as found_for
from changeover.app.shelf import Shelf
from changeover.cli.columns import hanging
from changeover.cli.frame import note, out, print_json
from changeover.cli.model_list import list_lines, model_row, unknown_lines
from changeover.library.search.filters import Filtered
from changeover.library.search.ranking import Hit


def search(shelf: Shelf, query: str, found: Filtered, most: int, *, as_json: bool) -> None:
    """Rank what passed the filters, and say how to get a first answer.

    Raises:
        UnknownModelError: No card is about it, or an id was mistyped.
    """
    answer = found_for(shelf, query, found, most)
    if as_json:
        shown = [_hit(shelf, hit, query) for hit in answer.hits]
        print_json({"query": query, "by": answer.by, "models": shown, "unknown": found.unknown})
        return
    if not answer.hits:
        raise nothing_found(query)
    _show(shelf, answer, found)


def _show(shelf: Shelf, answer: Search, found: Filtered) -> None:
    if not answer.said:
        note("no card says a word of this; these are the nearest in meaning")
    listed = list_lines(shelf, [hit.card for hit in answer.hits], out.width)
    for line in (*listed, *unknown_lines(found, out.width)):
        out.print(line)
    for call in first_calls(shelf, answer):
        out.print()
        for line in call_lines(call, out.width):
            out.print(line)
    if answer.by == ("words",) and not answer.by_name:
        note("by words alone; `pip install 'changeover[similarity]'` adds search by meaning")


def _hit(shelf: Shelf, hit: Hit, query: str) -> dict[str, Any]:
    call = first_call(shelf, hit.card, query, hit.scenarios)
    return {**model_row(shelf, hit.card), "score": round(hit.score, 4), "matched": hit.scenarios, "first_call": call}


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

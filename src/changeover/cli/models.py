"""`changeover models`: the library."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, out, print_json
from changeover.cli.weights import library
from changeover.library.cards import Card
from changeover.library.pull import present

app = typer.Typer(add_completion=False)


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(help="Show this one whole.")] = None,
    as_json: Json = False,
) -> None:
    """List the models that the library knows, or show the card of one: licence, lineage, weights, sources.

    Example: changeover models qwen2.5-coder-0.5b-instruct
    """
    catalogue, cache = library()
    if model is not None:
        card = catalogue.card(model)
        print_json(card) if as_json else _show(card)
        return
    cards = catalogue.cards()
    if as_json:
        print_json(list(cards))
        return
    for card in cards:
        fetched = any(present(artifact, cache) for artifact in card.artifacts)
        size = sum(artifact.size_bytes for artifact in card.artifacts[:1]) / (1 << 20)
        state = "fetched" if fetched else ""
        out.print(
            f"{card.id:<32} {_billions(card):>7}  {size:>6.0f} MiB  {card.licence_id or '–':<14} {state}", style=None
        )


def _billions(card: Card) -> str:
    return "–" if card.parameters_b is None else f"{card.parameters_b:g} B"


def _licence(card: Card) -> str | None:
    if card.licence is None:
        return None
    return card.licence.id + (f" – {card.licence.note}" if card.licence.note else "")


def _show(card: Card) -> None:
    out.print(f"[bold]{card.display_name}[/]  ({card.id})")
    rows = {
        "vendor": card.vendor + (f" ({card.country})" if card.country else ""),
        "released": card.released_on,
        "parameters": _billions(card),
        "context": None if card.context_tokens is None else f"{card.context_tokens} tokens",
        "licence": _licence(card),
        "base": card.lineage.base,
        "derived from": card.lineage.derived_from,
        "successor": card.lineage.successor,
        "chat format": card.chat_format,
        "note": card.note,
    }
    for name, value in rows.items():
        out.print(f"  {name:<13} {'–' if value is None else value}")
    for artifact in card.artifacts:
        out.print(f"  {'weights':<13} {artifact.format} {artifact.quantisation}, {artifact.size_bytes} bytes")
        out.print(f"  {'sha256':<13} {artifact.sha256}")
        for source in artifact.sources:
            out.print(f"  {'from':<13} {source.origin or '–'}")
    for source in card.sources:
        out.print(f"  {'source':<13} {', '.join(source.facts)}: {source.at} [dim](checked {source.checked})[/]")

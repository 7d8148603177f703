"""`changeover models`: the library. What a model is for, what it says of itself, and where to read more."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.model_list")

app = typer.Typer(add_completion=False)


@app.command()
def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="What it is to do, in any language; or `show` and an id; or an id alone.", show_default=False
        ),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="It reads or writes this; `in:image`, `out:image`.")] = None,
    max_size: Annotated[float | None, typer.Option(help="At most so many billions of parameters.", min=0)] = None,
    min_size: Annotated[float | None, typer.Option(help="At least so many.", min=0)] = None,
    licence: Annotated[
        str | None, typer.Option(help="A licence's id; or `allow`, `duties`, `person`, `deny` under your policy.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Of the vendor's seat, two letters.")] = None,
    vendor: Annotated[str | None, typer.Option(help="A part of the vendor's name.")] = None,
    family: Annotated[str | None, typer.Option(help="Its family, such as `qwen3`.")] = None,
    scenario: Annotated[str | None, typer.Option(help="What cards say that it is for, such as `ocr`.")] = None,
    language: Annotated[str | None, typer.Option(help="One that the vendor names, such as `ja`.")] = None,
    context: Annotated[int | None, typer.Option(help="At least so many tokens.", min=1)] = None,
    engine: Annotated[str | None, typer.Option(help="It runs on this engine today.")] = None,
    fits: Annotated[
        str | None, typer.Option(help="It fits `here`, or an accelerator and a number of them, such as `h100×8`.")
    ] = None,
    released_after: Annotated[datetime | None, typer.Option(help="On this day or later.", formats=["%Y-%m-%d"])] = None,
    released_before: Annotated[
        datetime | None, typer.Option(help="On this day or earlier.", formats=["%Y-%m-%d"])
    ] = None,
    open_weights: Annotated[bool, typer.Option("--open", help="Anybody can download the weights.")] = False,
    most: Annotated[int, typer.Option(help="Answers to a search.", min=1)] = 8,
    as_json: Json = False,
) -> None:
    """Find a model by what it is for, list all that the library knows, or show one whole.

    A card whose fact is unknown is left out by a filter on it, and counted. Each fact of a shown card bears the number
    of where it was read.

    Example: changeover models "read invoices" --max-size 10
    """
    asked = {
        "modality": modality,
        "max_size_b": max_size,
        "min_size_b": min_size,
        "licence": licence,
        "country": country,
        "vendor": vendor,
        "family": family,
        "scenario": scenario,
        "language": language,
        "context_tokens": context,
        "engine": engine,
        "released_after": None if released_after is None else released_after.date(),
        "released_before": None if released_before is None else released_before.date(),
        "open_weights": open_weights,
    }
    work().run([word for word in words or [] if word.strip()], asked, fits=fits, most=most, as_json=as_json)

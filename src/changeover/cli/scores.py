"""`changeover scores`: how familiar a model is and how well it is supported, with every input."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.scoring")

app = typer.Typer(add_completion=False)


@app.command()
def scores(
    model: Annotated[
        str | None, typer.Argument(help="Show this one with every input; without: all models, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show familiarity and supportability of models: two numbers from 0 to 100, each with its confidence.

    Confidence is the share of a score's weight that had data: what nobody knows counts for nothing, not as 0. What no
    score may average away stands beside them as a flag: remote code, pickle, an engine that dropped it, a licence
    that denies. Engines that are installed here are asked what they run; for the others the cards speak.

    Example: changeover scores gemma-3-270m
    """
    work().show_scores(model, as_json)

"""`changeover recommend`: which models to try next for a task, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.recommending")

app = typer.Typer(add_completion=False)


@app.command()
def recommend(
    task: Annotated[str, typer.Argument(help="The task.")],
    on: Annotated[
        str | None, typer.Option(help="Hardware that it shall run on, such as `h100x8`; by default this machine.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every model, those too that are ruled out, each with the reason.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shortlist models for a task, with why and why not for each.

    What the task needs comes first: a licence that the policy allows, its context, its languages. Then models that
    passed here already, those that could run now, those that need other hardware or a server. Among these a model is
    listed first if no other is at least as good in every way that is known: own score, what it is made for, a public
    index of one version, support, familiarity, cost. No score is added to another. Works before the first
    `changeover up`. Always ends with status 0.

    Example: changeover recommend summarise
    """
    work().show_recommendation(task, on, everything, as_json)

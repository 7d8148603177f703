"""`changeover candidates`: what could replace an incumbent, and what a trial of it would cost."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.proposing")

app = typer.Typer(add_completion=False)


@app.command()
def candidates(
    task: Annotated[str | None, typer.Argument(help="Only for this task.")] = None,
    as_json: Json = False,
) -> None:
    """List what could replace an incumbent: newer versions in its line first, then whatever else could serve the task.

    Each with the memory, the licence and the engine that it takes, and what a trial would cost. What nobody knows is
    shown as unknown. The cards are those of `changeover models`: the library's, and your own below `library/`.

    Example: changeover candidates
    """
    work().list_candidates(task, as_json)

"""`changeover timeline`: what happened to models and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.timeline_view")

app = typer.Typer(add_completion=False)


@app.command()
def timeline(
    family: Annotated[str | None, typer.Option(help="Only this family, such as `qwen3`.")] = None,
    vendor: Annotated[str | None, typer.Option(help="Only vendors with this in their name.")] = None,
    task: Annotated[str | None, typer.Option(help="Only what answers this task, and what could follow it.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Show releases, retirements, successors, changed licences, lost support and moved addresses, and who still keeps what up.

    A model is orphaned where an engine has dropped it, or where nobody committed to it for a year and nothing follows
    it; where nothing is known, it stays unknown. The best open models by country stand beside each other for each
    version of an index alone: versions are never compared.

    Example: changeover timeline --vendor MiniMax
    """
    work().run(family=family, vendor=vendor, task=task, svg=svg, as_json=as_json)

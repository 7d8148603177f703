"""`changeover tools`: which there are."""

from __future__ import annotations

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.tool_listing")

app = typer.Typer(add_completion=False)


@app.command()
def tools(as_json: Json = False) -> None:
    """List the tools: what each is for, who answers its tasks now, what is at stake, what small models reach on it.

    Inside a project its own, with what is wrong with those that cannot be used; then, or outside of one, those that come
    with changeover and can be added.

    Example: changeover tools
    """
    work().list_all(as_json)

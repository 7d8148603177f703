"""`changeover lockin`: how tied the tasks are to what answers them now, and what leaving would cost."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.leaving")

app = typer.Typer(add_completion=False)


@app.command()
def lockin(
    since: Annotated[str, typer.Option(help="From when on traffic counts: `7d`, `12h`, or a date; in UTC.")] = "30d",
    as_json: Json = False,
) -> None:
    """Show for each task who else could answer it, and on what one vendor, country, engine or format has a hold.

    For each task: who passed against its incumbent, how many models could be tried today, what in its prompt and its
    requests only some families understand, and the cheapest way to leave. Then shares of the tasks and of the
    recorded traffic by vendor, country, family, engine, closed weights and hosted names. Always ends with status 0.

    Example: changeover lockin
    """
    work().show_lockin(since, as_json)

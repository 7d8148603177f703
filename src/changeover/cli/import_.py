"""`changeover import`: an export becomes an installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

app = typer.Typer(add_completion=False)
work = later("changeover.cli.moving")


@app.command("import")
def bring_in(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE.zip", help="What `changeover export` wrote.")],
    into: Annotated[
        Path | None,
        typer.Option(help="A new directory for the project; without: the project here, which must be empty."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The public key that must have signed it: its hex digits, or a file with it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring an export into an empty installation: the same routes, history, evidence and answers.

    Everything is checked first, and written in one transaction. For a PostgreSQL store, write a `changeover.toml` with
    its address, and import in that directory.

    Example: changeover import everything.zip --into acme
    """
    work().bring_in(source, into, key, as_json)

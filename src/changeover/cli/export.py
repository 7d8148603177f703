"""`changeover export`: everything that is here, to take along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.signature import Json, later

app = typer.Typer(add_completion=False)
work = later("changeover.cli.moving")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="A new directory, or a new file whose name ends with `.zip`.")],
    without_content: Annotated[
        bool, typer.Option("--without-content", help="Leave out the texts of requests, answers and comments.")
    ] = False,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="With digests of API keys, so that they open the new installation too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give out everything: tasks, prompts, datasets, policy, cards, runs, exchanges, routes, rollouts, feedback.

    Tables as JSON lines, declarations as they are, and a signed list of all files with their digests. No secret is in it.

    Example: changeover export --out ../everything.zip
    """
    work().give_out(out, content=not without_content, keys=with_keys, as_json=as_json)

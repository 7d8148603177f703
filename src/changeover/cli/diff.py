"""`changeover diff`: what differs between two bundles, in words."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.exits import EXIT_USAGE
from changeover.cli.signature import Json, later
from changeover.cli.terminal import print_error
from changeover.core.errors import ChangeoverError

work = later("changeover.cli.differing")

app = typer.Typer(add_completion=False)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A deployment, a digest, or TASK@PLACE; see below.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    task: Annotated[
        str | None, typer.Option(help="Whose prompt and parameters a deployment is taken with; by default the other's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what differs between two bundles: engine, weights, templates, flags, prompt, parameters.

    TASK@incumbent, @candidate and @former are who answers, TASK@41 who answered from revision 41 on, and TASK@declared
    what the files say now. Ends with status 0 the same, 1 different, 2 an error, as `diff` does.

    Example: changeover diff code@incumbent code@declared
    """
    try:
        status = work().diff(a, b, task, as_json)
    except ChangeoverError as exc:
        # One that is no difference: 1 would say so.
        print_error(exc.message)
        raise typer.Exit(EXIT_USAGE) from exc
    if status:
        raise typer.Exit(status)

"""`changeover conformance`: whether a deployment does what its engine is said to do."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.conforming")

app = typer.Typer(add_completion=False)


@app.command()
def conformance(
    deployment: Annotated[str, typer.Argument(help="A deployment that runs; with --direct, any.")],
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            help="Look at the engine itself, not through the gateway: at its address, or at a copy started for this.",
        ),
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Look as with --direct, and keep what was found as `has` and `lacks` of the deployment's profile.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Try everything that applications ask of engines, and say what passes, what is missing and why.

    It looks at how answers come, not at how good they are, and asks a few dozen short things. Ends with status 1 if
    something is declared and not there. What nobody knows of a server that others run can be found out, and kept.

    Example: changeover conformance my-vllm --keep
    """
    raise typer.Exit(work().look(deployment, direct=direct or keep, keep=keep, as_json=as_json))

"""`changeover engines`: what can run models here, and environments for what cannot yet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from changeover.cli.signature import Defaulting, Json, later

work = later("changeover.cli.engine_environments")


class Commands(Defaulting):
    """Listing need not be named."""

    default = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or [self.default])


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    help="List every kind of engine, and make environments for those that need one.\n\n"
    "`changeover engines` alone lists them.",
)

Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Engines, as the list names them.")]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List every kind of engine: whether it can run here, what it is for, what it does, what it lacks.

    Example: changeover engines list
    """
    work().show(as_json=as_json)


@app.command()
def install(
    names: Names,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands, and run none.")] = False,
    as_json: Json = False,
) -> None:
    """Make an environment of its own for each, with pinned packages. Nothing of Changeover's own changes.

    Says beforehand what it takes on disk and about how long. What is interrupted leaves nothing half. A project's
    `[engines.homes]` goes before what is installed here.

    Example: changeover engines install openvino
    """
    work().make(names, dry_run=dry_run, as_json=as_json)


@app.command()
def remove(names: Names, as_json: Json = False) -> None:
    """Take environments away that `install` made. Deployments that need them do not start until they are there again.

    Example: changeover engines remove vllm
    """
    work().take_away(names, as_json=as_json)

"""`changeover evidence`: everything that allowed a switch, signed, for whoever has to check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.signature import Defaulting, Json, later

work = later("changeover.cli.packing")


class Commands(Defaulting):
    """Writing a pack need not be named."""

    default = "pack"


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    help="Write what allowed a switch into a signed pack, and check such a pack.\n\n"
    "`changeover evidence 12 --out pack` writes one: `pack` need not be named.",
)


@app.command("pack")
def write(
    rollout: Annotated[str, typer.Argument(help="Number of a rollout, or a task: its newest.")],
    out: Annotated[Path, typer.Option(help="The directory to make. One that is there must be empty.")],
    with_content: Annotated[
        bool, typer.Option("--with-content", help="With the texts of samples and answers; else their digests.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write everything that allowed a rollout: bundles, dataset, scores, e-values, guards, who decided, who approved.

    JSON with a page for people, signed with this installation's own key. Who checks it needs nothing else.

    Example: changeover evidence pack 12 --out pack
    """
    work().write(rollout, out, with_content, as_json)


@app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(help="The pack.")],
    key: Annotated[
        str | None, typer.Option(help="The public key that you trust: its hex digits, or a file with it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a pack: its signature, every digest, and every verdict once more from the raw scores.

    Needs no project, no store and no network. Ends with status 0 if nothing is wrong, else 1.

    Example: changeover evidence verify pack
    """
    status = work().verify_pack(directory, key, as_json)
    if status:
        raise typer.Exit(status)


@app.command("key")
def public_key(as_json: Json = False) -> None:
    """Print the public key of this installation, to give to whoever checks its packs. Made if there is none.

    Example: changeover evidence key
    """
    work().print_key(as_json)

"""`changeover promote`: now, without the remaining steps."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def promote(
    task: Annotated[str, typer.Argument(help="The task whose candidate takes over.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make the candidate of a rollout the incumbent now, without its remaining steps.

    Only steps are left out: an evaluation that has passed, and approvals, are asked for here too.

    Example: changeover promote code --reason "agreed in the change board"
    """
    work().promote(task, reason, as_json)

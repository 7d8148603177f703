"""`changeover resume`: a rollout goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def resume(
    task: Annotated[str, typer.Argument(help="The task whose rollout shall go on.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Let a rollout that was paused, or that holds by itself, go on. An evaluation that decided nothing is made anew.

    Example: changeover resume code --reason "fifty more samples"
    """
    work().resume(task, reason, as_json)

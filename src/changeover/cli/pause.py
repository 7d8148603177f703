"""`changeover pause`: a rollout stays where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def pause(
    task: Annotated[str, typer.Argument(help="The task whose rollout shall wait.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Have a rollout stay at its step. Its guards stay on: a candidate that fails is taken out all the same.

    Example: changeover pause code --reason "quarter end"
    """
    work().pause(task, reason, as_json)

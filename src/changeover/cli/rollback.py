"""`changeover rollback`: bring back who answered before."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def rollback(
    task: Annotated[str, typer.Argument(help="The task to take back.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Bring back who answered before the last switch, or take out the candidate of a rollout under way.

    The variant of before comes back whole: its prompt and parameters too. If it was stopped, it is started first.

    Example: changeover rollback code --reason "complaints from the desk"
    """
    work().rollback(task, reason, as_json)

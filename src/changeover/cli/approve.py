"""`changeover approve`: agree to a rollout."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def approve(
    task: Annotated[str, typer.Argument(help="The task whose rollout may go on.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Agree to a rollout's next stages, where the task asks for that. Whoever started it cannot.

    Example: changeover approve credit-memo --reason "seen in the model board"
    """
    work().approve(task, reason, as_json)

"""`changeover abort`: stop before promotion."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def abort(
    task: Annotated[str, typer.Argument(help="The task whose rollout stops.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Stop a rollout before its promotion: the incumbent answers everything. Requests under way end where they are.

    Where an engine changed under a task, what answers now is accepted without a measurement.

    Example: changeover abort code --reason "not today"
    """
    work().abort(task, reason, as_json)

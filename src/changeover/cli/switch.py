"""`changeover switch`: evidence, canary, promotion."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later

work = later("changeover.cli.switching")

app = typer.Typer(add_completion=False)


@app.command()
def switch(
    task: Annotated[str, typer.Argument(help="The task to switch.")],
    to: Annotated[str, typer.Option(help="A deployment, or a card of the library, which is deployed first.")],
    reason: Reason = "",
    detach: Annotated[bool, typer.Option("--detach", help="Begin, and do not follow.")] = False,
    as_json: Json = False,
) -> None:
    """Let a candidate take over: compare unless that is done, then canary by the task's steps, then promotion.

    It goes back by itself if the candidate fails more than the task tolerates. Ends with status 0 promoted,
    1 refused or rolled back, 3 inconclusive.

    Example: changeover switch code --to qwen2.5-coder-0.5b-instruct --reason "better on our cases"
    """
    status = work().switch(task, to, reason, detach, as_json)
    if status:
        raise typer.Exit(status)

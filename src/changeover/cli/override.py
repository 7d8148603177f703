"""`changeover override`: let a rollout pass a gate, for a reason and for a time."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.steer")

app = typer.Typer(add_completion=False)


@app.command()
def override(
    task: Annotated[str, typer.Argument(help="The task whose rollout passes.")],
    gate: Annotated[Literal["evaluation", "approval"], typer.Option(help="What it need not have.")],
    approver: Annotated[str, typer.Option(help="Who answers for it.")],
    expires: Annotated[str, typer.Option(help="How long it holds, such as `7d` or `12h`, or until when: a date.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
    as_json: Json = False,
) -> None:
    """Let a rollout go on without what a gate asks for. It stays in sight, in `status` and in the history, until it ends.

    It ends when evidence arrives, when the candidate is taken out, or when its time is over; a rollout that has not been
    promoted by then is put on hold, and goes on by evidence or by another override only. One that somebody paused waits for
    `changeover resume`.

    Example: changeover override code --gate evaluation --approver ana --expires 7d --reason "incumbent is withdrawn"
    """
    work().override(task, gate, approver, expires, reason, as_json)

"""`changeover abort`: stop before promotion."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, Reason
from changeover.cli.running import opened
from changeover.cli.steer import by_hand, canary_of, print_route
from changeover.rollouts.actions import abort as abort_now

app = typer.Typer(add_completion=False)


@app.command()
def abort(
    task: Annotated[str, typer.Argument(help="The task whose canary stops.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Stop a canary: the incumbent answers everything again. Requests under way end where they are.

    Example: changeover abort code --reason "not today"
    """
    installation = opened()
    rollout = canary_of(installation, task)
    with installation.store.write() as connection:
        route = abort_now(connection, rollout, by_hand(installation, reason, "aborted by hand"))
    print_route(installation, route, as_json)

"""`changeover promote`: now, without the remaining steps."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, Reason
from changeover.cli.running import opened
from changeover.cli.steer import by_hand, canary_of, print_route
from changeover.rollouts.actions import promote as promote_now

app = typer.Typer(add_completion=False)


@app.command()
def promote(
    task: Annotated[str, typer.Argument(help="The task whose candidate takes over.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make the candidate of a running canary the incumbent now. The former incumbent stays ready.

    Example: changeover promote code --reason "agreed in the change board"
    """
    installation = opened()
    rollout = canary_of(installation, task)
    with installation.store.write() as connection:
        route = promote_now(connection, rollout, None, by_hand(installation, reason, "promoted by hand"))
    print_route(installation, route, as_json)

"""`changeover rollback`: bring back who answered before."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.app.local import running_address
from changeover.cli.frame import Json, Reason
from changeover.cli.running import check_task, ensure_running, opened
from changeover.cli.steer import by_hand, print_route
from changeover.core.errors import GateError
from changeover.rollouts.actions import roll_back
from changeover.rollouts.decide import BEFORE_PROMOTION
from changeover.rollouts.exchange import was_exchanged
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import load_variants
from changeover.tasks.queries import current_route

app = typer.Typer(add_completion=False)


@app.command()
def rollback(
    task: Annotated[str, typer.Argument(help="The task to take back.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Bring back who answered before the last switch, or take out the candidate of a canary.

    The variant of before comes back whole: its prompt and parameters too. If it was stopped, it is started first.

    Example: changeover rollback code --reason "complaints from the desk"
    """
    installation = opened()
    check_task(installation, task)
    with installation.store.read() as connection:
        route = current_route(connection, task)
        if route is None:
            raise GateError(f"`{task}` has no route yet. Start the project once with `changeover up`.")
        former = load_variants(connection, [] if route.former is None else [route.former])
        rollout = latest_rollout(connection, task)
        exchanged = was_exchanged(connection, task)
    in_canary = rollout is not None and rollout.state in BEFORE_PROMOTION
    if not in_canary and not exchanged and running_address(installation.project.state) is not None:
        # In a canary the incumbent answers already; after a promotion the former one may have been stopped. Where engines
        # were exchanged it is started by the rollback itself, in place of the present one.
        for variant in former.values():
            ensure_running(installation, variant.deployment)
    with installation.store.write() as connection:
        revised = roll_back(connection, task, by_hand(installation, reason, "rolled back by hand"))
    print_route(installation, revised, as_json)

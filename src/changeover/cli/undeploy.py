"""`changeover undeploy`: stop a deployment that no route needs."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.app.adapting import check_holds_none
from changeover.cli.frame import Json, out, print_json
from changeover.cli.running import opened
from changeover.core.errors import GateError
from changeover.rollouts.queries import active_rollouts
from changeover.serving.queries import find_deployment, load_variants, want
from changeover.tasks.queries import current_routes

app = typer.Typer(add_completion=False)


@app.command()
def undeploy(
    name: Annotated[str, typer.Argument(help="The deployment to stop.")],
    as_json: Json = False,
) -> None:
    """Stop a deployment as soon as nobody waits for it. Refused while it may have to answer a task.

    Example: changeover undeploy smollm2-135m-instruct
    """
    installation = opened()
    with installation.store.write() as connection:
        find_deployment(connection, name)
        baking = {rollout.task for rollout in active_rollouts(connection) if rollout.state == "baking"}
        for task, route in current_routes(connection).items():
            # In the bake time the guard may bring the former incumbent back at any moment.
            needed = (route.incumbent, route.candidate, route.former if task in baking else None)
            variants = load_variants(connection, [id for id in needed if id is not None])
            if any(variant.deployment == name for variant in variants.values()):
                raise GateError(
                    f"`{name}` may have to answer `{task}`: see `changeover status {task}`. Switch that first."
                )
        check_holds_none(connection, name)
        want(connection, name, "stopped", installation.clock.now())
    if as_json:
        print_json({"deployment": name, "desired": "stopped"})
    else:
        out.print(f"{name}  stops once it is idle")

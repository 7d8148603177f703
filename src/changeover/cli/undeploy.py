"""`changeover undeploy`: stop a deployment that no route needs."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, out, print_json
from changeover.cli.running import opened
from changeover.core.errors import GateError
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
        for task, route in current_routes(connection).items():
            needed = (route.incumbent, route.candidate)
            variants = load_variants(connection, [id for id in needed if id is not None])
            if any(variant.deployment == name for variant in variants.values()):
                raise GateError(f"`{name}` answers `{task}`. Switch that first: `changeover switch {task} --to OTHER`.")
        want(connection, name, "stopped", installation.clock.now())
    if as_json:
        print_json({"deployment": name, "desired": "stopped"})
    else:
        out.print(f"{name}  stops once it is idle")

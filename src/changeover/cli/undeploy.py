"""`changeover undeploy`: stop a deployment that no route needs."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.app.deploy import stop
from changeover.cli.frame import Json, actor, out, print_json
from changeover.cli.running import opened

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
        stop(connection, name, actor(), installation.clock.now())
    if as_json:
        print_json({"deployment": name, "desired": "stopped"})
    else:
        out.print(f"{name}  stops once it is idle")

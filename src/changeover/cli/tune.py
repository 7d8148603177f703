"""`changeover tune`: which thread count and quantisation answers fastest on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.tuning")

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="A deployment, or a card whose weights are here.")],
    engine: Annotated[str, typer.Option(help="Kind of engine, for a card; a deployment has its own.")] = "local",
    rounds: Annotated[int, typer.Option(help="How often each way is started.", min=1, max=20)] = 2,
    tokens: Annotated[int, typer.Option(help="Most tokens of each answer.", min=8, max=1024)] = 48,
    as_json: Json = False,
) -> None:
    """Run a model with each thread count, and in each quantisation that is here, and keep what answers fastest.

    Its deployments have these threads from their next start on, and a deployment made later has them at once. Threads
    are no part of a bundle: evidence stays. Another quantisation is another bundle, so it is only named.

    Example: changeover tune smollm2-135m-instruct
    """
    work().tune(model, engine, rounds=rounds, tokens=tokens, as_json=as_json)

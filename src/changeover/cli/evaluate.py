"""`changeover eval`: how good one model is at a task."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.evaluating")

app = typer.Typer(add_completion=False)


@app.command("eval")
def evaluate(
    task: Annotated[str, typer.Argument(help="The task whose dataset is answered.")],
    deployment: Annotated[str | None, typer.Option(help="Who answers; by default the incumbent.")] = None,
    samples: Annotated[int | None, typer.Option(help="Only so many, drawn at random.", min=1)] = None,
    repeats: Annotated[int | None, typer.Option(help="Answers to each sample; by default the task's.", min=1)] = None,
    max_calls: Annotated[int | None, typer.Option(help="Stop before more new calls.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Score who answers a task, or another deployment, on the task's dataset.

    To decide between two models use `compare`: it needs fewer calls and knows how sure it is.

    Example: changeover eval summarise --samples 20
    """
    work().evaluate(task, deployment, samples, repeats, max_calls, as_json)

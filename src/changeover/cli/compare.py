"""`changeover compare`: is the candidate better, no worse, or worse; on one task or on all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from changeover.cli.exits import EXIT_PASS
from changeover.cli.signature import Json, later
from changeover.core.errors import ConfigError

work = later("changeover.cli.comparing")

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    task: Annotated[str | None, typer.Argument(help="The task whose dataset and gate decide.")] = None,
    candidate: Annotated[
        str | None, typer.Option(help="A deployment, or a card of the library, which is deployed first.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="On every task, with the false switches held at 10 %.")] = False,
    max_calls: Annotated[int | None, typer.Option(help="Stop undecided before more new calls.", min=1)] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="In USD: stop undecided before new calls cost more.", min=0.0)
    ] = None,
    again: Annotated[
        int,
        typer.Option(
            "--aa", help="Put so many samples to the incumbent again: how much it differs from itself.", min=0
        ),
    ] = 0,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Where the report goes; by default below .changeover. With --json none is written unless this is given."
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit XML file for a CI system.")] = None,
    replayed: Annotated[
        str | None, typer.Option("--replay", help="Recompute the verdict of a kept comparison from its scores.")
    ] = None,
    rollout: Annotated[
        int | None, typer.Option(help="Measure what this rollout waits for, as the running system does.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a candidate against the incumbent until the evidence is enough, and no further.

    Both answer the same samples through the gateway. Answers are kept: an interrupted comparison goes on, and the
    incumbent is never asked twice. Ends with status 0 pass, 1 fail, 3 inconclusive; `--all` with the worst of them.

    Example: changeover compare code --candidate qwen2.5-coder-0.5b-instruct
    """
    if replayed is not None:
        status = work().replay_one(replayed, as_json)
    elif rollout is not None and task is None and candidate is None and not every:
        ask = work().Ask(max_calls=max_calls, max_cost_usd=max_cost, again=again, html=html, junit=junit)
        status = work().compare_rollout(rollout, ask, as_json)
    elif rollout is not None or candidate is None or (task is None) != every:
        raise ConfigError(
            "Say what is compared: `changeover compare TASK --candidate X`, `--all --candidate X`, or `--rollout N`."
        )
    elif task is None:
        status = work().compare_all(candidate, max_calls, max_cost, junit, as_json)
    else:
        ask = work().Ask(max_calls=max_calls, max_cost_usd=max_cost, again=again, html=html, junit=junit)
        status = work().compare_one(task, candidate, ask, as_json)
    if status != EXIT_PASS:
        raise typer.Exit(status)

"""`changeover switch`: evidence, shadow, canary, promotion."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Reason, later
from changeover.core.errors import ConfigError

work = later("changeover.cli.switching")
trying = later("changeover.cli.trying")

app = typer.Typer(add_completion=False)


@app.command()
def switch(
    task: Annotated[str | None, typer.Argument(help="The task to switch.")] = None,
    to: Annotated[
        str | None, typer.Option(help="A deployment, or a card of the library, which is deployed first.")
    ] = None,
    reason: Reason = "",
    detach: Annotated[bool, typer.Option("--detach", help="Begin, and do not follow.")] = False,
    from_trial: Annotated[
        int | None,
        typer.Option(help="Begin what this trial recommends, on every task or on the one that is named.", min=1),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --from-trial: do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let a candidate take over: compare unless that is done, then shadow and canary by the task's steps.

    After the last step it is promoted. It goes back by itself if the candidate does worse than the task tolerates. Ends
    with status 0 promoted, 1 refused or rolled back, 3 inconclusive or held. `--from-trial` begins the rollouts and follows none.

    Example: changeover switch code --to qwen2.5-coder-0.5b-instruct --reason "better on our cases"
    """
    if from_trial is not None and to is None:
        status = trying().switch_from(from_trial, task, reason, yes, as_json)
    elif from_trial is None and task is not None and to is not None:
        status = work().switch(task, to, work().Ask(reason, detach, as_json))
    else:
        raise ConfigError(
            "Say what takes over: `changeover switch TASK --to X`, or `changeover switch --from-trial ID`."
        )
    if status:
        raise typer.Exit(status)

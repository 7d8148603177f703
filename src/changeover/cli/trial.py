"""`changeover trial`: one candidate against the incumbent of every task that it could serve."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later
from changeover.core.errors import ConfigError

work = later("changeover.cli.trying")

app = typer.Typer(add_completion=False)


@app.command()
def trial(
    candidate: Annotated[
        str | None,
        typer.Argument(help="A deployment, or a card of the library, which is deployed first. Left out: show a trial."),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times. By default all of them.")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="New calls over all tasks together; what is left goes on another time.", min=1)
    ] = None,
    show: Annotated[int | None, typer.Option(help="Show this trial again; by default the newest.", min=1)] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the trials, newest first.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a candidate on every task, and show in one table where it should take over.

    Each task is decided by its own gate; the false switches are held at 10 % over all of them. What goes wrong on one
    task stops no other. Answers and verdicts are kept: an interrupted trial goes on with the same command within a day.
    Ends with status 0 if a task could switch, 1 if none could, 3 if none could and some are undecided.

    Example: changeover trial qwen2.5-coder-0.5b-instruct
    """
    if candidate is not None and (show is not None or listed):
        raise ConfigError(
            "Either try a candidate, or show what was tried: `--show` and `--list` go without a candidate."
        )
    if candidate is None and (task or max_calls is not None):
        raise ConfigError("Say what is tried: `changeover trial X`. `changeover candidates` lists what could be.")
    if listed:
        status = work().list_trials(as_json)
    elif candidate is None:
        status = work().show_trial(show, as_json)
    else:
        status = work().try_everywhere(candidate, tuple(task or ()), max_calls, as_json)
    if status:
        raise typer.Exit(status)

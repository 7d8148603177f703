"""`changeover logs`: what a deployment's engine has written."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from changeover.cli.frame import Json, note, print_json
from changeover.cli.running import opened
from changeover.core.errors import ConfigError
from changeover.serving.engine_log import last_lines, lines_since
from changeover.serving.queries import find_deployment

app = typer.Typer(add_completion=False)

FOLLOW_S = 0.2


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="The deployment.", metavar="DEPLOYMENT")],
    lines: Annotated[int, typer.Option(help="How many of the newest lines.", min=0)] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is written from now on, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a deployment's engine has written, its secrets masked. Works while the system is down.

    Example: changeover logs smollm2-135m-instruct --lines 200
    """
    if follow and as_json:
        raise ConfigError("`--json` prints one result and ends: leave `--follow` out.")
    installation = opened()
    with installation.store.read() as connection:
        row = find_deployment(connection, name)
    file = installation.project.state / "logs" / f"{row.name}.log"
    newer = lines_since(file)
    if follow:
        next(newer)  # from here on
    shown = last_lines(file, lines)
    if as_json:
        print_json({"deployment": row.name, "state": row.state, "file": str(file), "lines": shown})
        return
    if not shown and not follow:
        note(f"{row.name} has written nothing. It is {row.state}{': ' if row.detail else ''}{row.detail}")
    _print(shown)
    while follow:
        _print(next(newer))
        time.sleep(FOLLOW_S)


def _print(lines: list[str]) -> None:
    """As they are: what an engine writes is no markup. Control characters could rewrite a terminal."""
    for line in lines:
        sys.stdout.write("".join(each if each.isprintable() or each == "\t" else "?" for each in line) + "\n")
    sys.stdout.flush()

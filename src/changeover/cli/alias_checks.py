"""`changeover alias-checks`: whether models that others run still answer as they did."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, later

work = later("changeover.cli.alias_checking")

app = typer.Typer(add_completion=False)


@app.command()
def alias_checks(
    task: Annotated[str | None, typer.Argument(help="Only this task.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Ask now, whether it is due or not.")] = False,
    limit: Annotated[int, typer.Option(help="Newest so many checks.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show the checks of models that others run: pinned samples, asked again every day.

    Where answers change under the same name, a rollout is opened in `held`; see `[alias_checks]` in changeover.toml.
    With --run it ends with status 0 as before, 1 changed, 3 where a check failed.

    Example: changeover alias-checks code --run
    """
    status = work().alias_checks(task, run, limit, as_json)
    if status:
        raise typer.Exit(status)

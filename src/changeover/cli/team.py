"""`changeover team`: who owns keys, and what all keys of a team may use together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from changeover.app.keys import document_of_team, new_team, remove_team
from changeover.app.keys import set_team as change
from changeover.cli.frame import Json, actor, out, plain, print_json
from changeover.cli.key import Limits
from changeover.cli.running import opened
from changeover.core.errors import ConfigError
from changeover.gateway.keys import Team, all_teams

app = typer.Typer(add_completion=False, help="Make, list, change and remove teams.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The team.")]


@app.command()
def new(name: Name, limit: Limits = None, as_json: Json = False) -> None:
    """Make a team; its limits hold for all its keys together, beside their own.

    Example: changeover team new finance --limit usd/month=500
    """
    _show([new_team(opened(), name, actor(), limit or ())], as_json)


@app.command("list")
def list_teams(as_json: Json = False) -> None:
    """List the teams, their limits, and how many keys they own.

    Example: changeover team list
    """
    with opened().store.read() as connection:
        found = all_teams(connection)
    _show(found, as_json)


@app.command("set")
def set_team(
    name: Name,
    limit: Limits = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Remove all its limits first.")] = False,
    as_json: Json = False,
) -> None:
    """Change a team's limits, within a second; `--limit usd/month=none` removes one.

    Example: changeover team set finance --limit usd/month=800
    """
    if not limit and not no_limits:
        raise ConfigError("Nothing to change. Give `--limit` or `--no-limits`.")
    _show([change(opened(), name, actor(), limit or (), no_limits=no_limits)], as_json)


@app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove a team that owns no key any more. What it used stays in `changeover usage`.

    Example: changeover team remove finance
    """
    remove_team(opened(), name, actor())
    print_json({"removed": name}) if as_json else out.print(f"removed {plain(name)}")


def _show(found: Iterable[Team], as_json: bool) -> None:
    if as_json:
        print_json([document_of_team(team) for team in found])
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("team", "keys", "limits"):
        table.add_column(column, justify="right" if column == "keys" else "left", overflow="fold")
    for team in found:
        table.add_row(plain(team.name), str(team.keys), plain("\n".join(str(limit) for limit in team.limits) or "–"))
    out.print(table)

"""`changeover team`: who owns keys, and what all keys of a team may use together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from changeover.cli.frame import Json, out, plain, print_json
from changeover.cli.key import Limits
from changeover.cli.running import opened
from changeover.core.errors import ConfigError
from changeover.gateway.keys import Team, all_teams, change_team, find_team, make_team, remove_team
from changeover.gateway.limits import change_limits

app = typer.Typer(add_completion=False, help="Make, list, change and remove teams.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The team.")]


@app.command()
def new(name: Name, limit: Limits = None, as_json: Json = False) -> None:
    """Make a team; its limits hold for all its keys together, beside their own.

    Example: changeover team new finance --limit usd/month=500
    """
    installation = opened()
    limits = change_limits((), limit or ())
    with installation.store.write() as connection:
        make_team(connection, name, limits, installation.clock.now())
        made = find_team(connection, name)
    _show([made], as_json)


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
    with opened().store.write() as connection:
        team = find_team(connection, name)
        change_team(connection, name, change_limits(() if no_limits else team.limits, limit or ()))
        changed = find_team(connection, name)
    _show([changed], as_json)


@app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove a team that owns no key any more. What it used stays in `changeover usage`.

    Example: changeover team remove finance
    """
    with opened().store.write() as connection:
        remove_team(connection, name)
    print_json({"removed": name}) if as_json else out.print(f"removed {plain(name)}")


def _show(found: Iterable[Team], as_json: bool) -> None:
    if as_json:
        print_json([_document(team) for team in found])
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("team", "keys", "limits"):
        table.add_column(column, justify="right" if column == "keys" else "left", overflow="fold")
    for team in found:
        table.add_row(plain(team.name), str(team.keys), plain("\n".join(str(limit) for limit in team.limits) or "–"))
    out.print(table)


def _document(team: Team) -> dict[str, Any]:
    return {"name": team.name, "keys": team.keys, "limits": [str(limit) for limit in team.limits]}

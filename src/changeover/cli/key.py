"""`changeover key`: who may call, what, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from changeover.app.keys import Grant, document_of_key, new_key, set_keys
from changeover.app.keys import revoke as revoke_keys
from changeover.cli.frame import Json, actor, out, plain, print_json
from changeover.cli.running import opened
from changeover.cli.when import after
from changeover.core.errors import ConfigError
from changeover.gateway.keys import CALLERS, Key, Role, load_keys

app = typer.Typer(add_completion=False, help="Make, list, change and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the key is for, such as the application's name.")]
Known = Annotated[str, typer.Argument(metavar="NAME|ID", help="Every key of that name, or one by its id.")]
TeamOption = Annotated[str | None, typer.Option("--team", help="Who owns it; `changeover team new` makes one.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="A task it may call; repeat. Without: every task.")]
ToolsOption = Annotated[
    list[str] | None, typer.Option("--tool", help="A tool it may run: it may call all the tool's tasks; repeat.")
]
Deployments = Annotated[
    list[str] | None, typer.Option("--deployment", help="A deployment it may name in `model`; repeat.")
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="UNIT/PERIOD=AMOUNT",
        help="`requests`, `tokens` or `usd` a minute, hour, day, week, month or in `total`; or `concurrent=8`. Repeat.",
    ),
]


@app.command()
def new(
    name: Name,
    team: TeamOption = None,
    role: Annotated[
        Role,
        typer.Option(
            help="A viewer looks and calls nothing; an operator steers, an approver approves, an admin may do all."
        ),
    ] = "application",
    task: Tasks = None,
    tool: ToolsOption = None,
    deployment: Deployments = None,
    limit: Limits = None,
    expires: Annotated[str | None, typer.Option(help="`30d`, or a date: refused from then on.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once.

    Example: changeover key new invoice-reader --team finance --task summarise --limit requests/minute=600 --limit usd/month=50
    """
    installation = opened()
    secret = new_key(
        installation,
        name,
        actor(),
        role=role,
        team=team,
        grant=Grant(tasks=task or (), tools=tool or (), deployments=deployment or ()),
        limits=limit or (),
        expires_at=None if expires is None else after(expires, installation.clock.now(), "--expires"),
    )
    if as_json:
        print_json({"name": name, "role": role, "key": secret})
    else:
        out.print(f"{secret}\n[dim]shown once; only its digest is kept[/]")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys that were not revoked; the keys themselves are nowhere.

    Example: changeover key list
    """
    installation = opened()
    with installation.store.read() as connection:
        found = list(load_keys(connection).values())
    if as_json:
        print_json([document_of_key(key) for key in found])
    else:
        out.print(_table(found, installation.clock.now()))


@app.command("set")
def set_key(
    name: Known,
    team: TeamOption = None,
    no_team: Annotated[bool, typer.Option("--no-team", help="Owned by no team.")] = False,
    task: Tasks = None,
    tool: ToolsOption = None,
    all_tasks: Annotated[bool, typer.Option("--all-tasks", help="May call every task.")] = False,
    deployment: Deployments = None,
    no_deployments: Annotated[bool, typer.Option("--no-deployments", help="May name no deployment.")] = False,
    limit: Limits = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Remove all its limits first.")] = False,
    expires: Annotated[str | None, typer.Option(help="`30d`, a date, or `never`.")] = None,
    as_json: Json = False,
) -> None:
    """Change what a key may do, within a second and without a new secret.

    `--task`, `--tool` and `--deployment` replace the whole list. `--limit` changes that limit only; `--limit usd/month=none` removes it.

    Example: changeover key set invoice-reader --limit usd/month=100
    """
    for both, one, other in (
        (team is not None and no_team, "--team", "--no-team"),
        (bool(task or tool) and all_tasks, "--task" if task else "--tool", "--all-tasks"),
        (bool(deployment) and no_deployments, "--deployment", "--no-deployments"),
    ):
        if both:
            raise ConfigError(f"`{one}` and `{other}` contradict each other. Give one of them.")
    installation = opened()
    now = installation.clock.now()
    changes: dict[str, Any] = {}
    grant = Grant(tasks=task or (), tools=tool or (), deployments=deployment or ())
    tasks, deployments = grant.checked(installation)
    if team is not None or no_team:
        changes["team"] = team
    if tasks is not None or all_tasks:
        changes["tasks"] = tasks
    if deployments is not None or no_deployments:
        changes["deployments"] = deployments or ()
    if expires is not None:
        changes["expires_at"] = None if expires == "never" else after(expires, now, "--expires")
    if not changes and not limit and not no_limits:
        raise ConfigError("Nothing to change. `changeover key set --help` lists what can be.")
    changed = set_keys(installation, name, actor(), limits=limit or (), no_limits=no_limits, **changes)
    print_json([document_of_key(key) for key in changed]) if as_json else out.print(_table(changed, now))


@app.command()
def revoke(name: Known, as_json: Json = False) -> None:
    """Make a key useless, within a second.

    Example: changeover key revoke invoice-reader
    """
    revoke_keys(opened(), name, actor())
    if as_json:
        print_json({"revoked": name})
    else:
        out.print(f"revoked {plain(name)}")


def _table(found: Iterable[Key], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("key", "role", "team", "tasks", "deployments", "limits", "expires", "id"):
        table.add_column(column, no_wrap=column in ("role", "expires", "id"), overflow="fold")
    for key in found:
        table.add_row(
            plain(key.name),
            key.role,
            plain(key.team or "–"),
            _names(key),
            plain("\n".join(sorted(key.deployments)) or "–"),
            plain("\n".join(str(limit) for limit in key.limits) or "–"),
            _expiry(key, now),
            key.id,
        )
    return table


def _names(key: Key) -> str:
    if key.role not in CALLERS:
        return "none"
    return "all" if key.tasks is None else plain("\n".join(sorted(key.tasks)))


def _expiry(key: Key, now: datetime) -> str:
    if key.expires_at is None:
        return "–"
    day = f"{key.expires_at:%Y-%m-%d}"
    return f"[red]expired {day}[/]" if key.expired(now) else day

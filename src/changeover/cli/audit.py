"""`changeover audit`: who did what, when and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from changeover.cli.frame import Json, clock_time, note, out, plain, print_json
from changeover.cli.running import opened
from changeover.cli.when import moment
from changeover.store.audit import MOST, Act, Wanted, acts

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    actor: Annotated[str | None, typer.Option(help="A person, or a key by its name.")] = None,
    task: Annotated[str | None, typer.Option(help="What was done to this task's routes and rollouts.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as `promote`, `approve`, `apply`, `key new`.")] = None,
    since: Annotated[str | None, typer.Option(help="`7d`, `12h`, or a date.")] = None,
    until: Annotated[str | None, typer.Option(help="The same; without: now.")] = None,
    after: Annotated[str | None, typer.Option(metavar="PLACE", help="Go on where an answer said it ended.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=MOST)] = 50,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first: switches, rollouts, approvals, declarations, keys, teams, deployments, sign-ins.

    Example: changeover audit --since 7d --actor ana
    """
    installation = opened()
    now = installation.clock.now()
    wanted = Wanted(
        actor=actor,
        tasks=None if task is None else frozenset({task}),
        action=action,
        since=None if since is None else moment(since, now, "--since"),
        until=None if until is None else moment(until, now, "--until"),
        after=after,
    )
    with installation.store.read() as connection:
        found = acts(connection, wanted, limit)
    more = found[-1].cursor if len(found) == limit else None
    if as_json:
        print_json({"acts": [_document(act) for act in found], "after": more})
        return
    out.print(_table(found) if found else "nothing of that was done")
    if more is not None:
        note(f"there may be more: --after {more}")


def _document(act: Act) -> dict[str, Any]:
    return asdict(act) | {"place": act.cursor}


def _table(found: list[Act]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("at", "who", "did", "to", "task", "why"):
        table.add_column(name, no_wrap=name in ("at", "did"), overflow="fold")
    for act in found:
        task = plain(act.task or "–")
        table.add_row(
            clock_time(act.at), plain(act.actor), plain(act.action), plain(act.subject), task, plain(act.reason)
        )
    return table

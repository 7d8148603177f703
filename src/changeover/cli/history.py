"""`changeover history`: who answered when, who decided it, why, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.text import Text

from changeover.app.history import Happened, history_of
from changeover.app.installation import Installation
from changeover.cli.columns import clipped, hanging
from changeover.cli.frame import Json, clock_time, out, print_json, require
from changeover.cli.running import check_task, opened
from changeover.evals.queries import find_comparison
from changeover.evals.report.words import odds, points
from changeover.rollouts.queries import find_rollout
from changeover.serving.queries import load_variants

app = typer.Typer(add_completion=False)

WIDE = 100
"""Columns from which on there is room for years and seconds."""
LONGEST_WHO = 16


@app.command()
def history(
    task: Annotated[str, typer.Argument(help="The task.")],
    limit: Annotated[int, typer.Option(help="Newest so many revisions.", min=1)] = 50,
    as_json: Json = False,
) -> None:
    """Show every route revision of a task and what happened to its rollouts, newest first: who, why, on what evidence.

    Example: changeover history code
    """
    installation = opened()
    check_task(installation, task)
    rows = revisions(installation, task, limit)
    if as_json:
        print_json(rows)
        return
    for line in history_lines(installation, rows, out.width):
        out.print(line)


def revisions(installation: Installation, task: str, limit: int) -> list[Happened]:
    """Route revisions of a task with their evidence, and what else happened to its rollouts; newest first."""
    with installation.store.read() as connection:
        return history_of(connection, task, limit)


def history_lines(installation: Installation, rows: list[Happened], width: int) -> list[Text]:
    """The same for people: each rollout under a line that says what it is, with what allowed it."""
    headings = _headings(installation, {row.rollout for row in rows if row.rollout is not None})
    who = min(max((cell_len(row.actor) for row in rows), default=0), LONGEST_WHO)
    lines: list[Text] = []
    for rollout, group in groupby(rows, key=lambda row: row.rollout):
        lines += [Text()] if lines else []
        lines += headings.get(rollout or 0, [])
        for row in group:
            lines += _entry(row, who, width)
    return lines


def _headings(installation: Installation, ids: set[int]) -> dict[int, list[Text]]:
    """What each rollout is, and what it was begun on."""
    headings: dict[int, list[Text]] = {}
    with installation.store.read() as connection:
        for id in ids:
            rollout = require(find_rollout(connection, id), f"Rollout {id} is gone.")
            variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
            old, new = (variants[each].deployment for each in (rollout.incumbent, rollout.candidate))
            summary = find_comparison(connection, rollout.comparison).summary if rollout.comparison else None
            said = "not measured" if summary is None else _evidence(summary)
            headings[id] = [
                Text.assemble((f"rollout {id}", "bold"), f"  {old} → {new}  ", (f"tier {rollout.plan.tier}", "dim")),
                Text.assemble("           ", said),
            ]
    return headings


def _entry(row: Happened, who: int, width: int) -> list[Text]:
    """One thing that happened. A long reason goes on below its beginning."""
    at = clock_time(row.at) if width >= WIDE else clock_time(row.at)[5:-3]
    revision = "" if row.revision is None else str(row.revision)
    action = f"{row.action} {100 * row.candidate_weight:g} %" if row.candidate_weight else row.action
    before = f"{revision:>5}  {at}  {action:<11}  {_padded(row.actor, who)}  "
    return hanging(before, Text(_why(row)), width)


def _padded(text: str, width: int) -> str:
    short = clipped(text, width)
    return short + " " * (width - cell_len(short))


def _why(row: Happened) -> str:
    """The reason, and what else the line has to say."""
    seen: Mapping[str, Any] = row.seen or {}
    if row.action == "override":
        return f"{seen['gate']}, approved by {seen['approver']}: {row.reason}"
    answers = row.action in ("promote", "rollback", "abort") or row.rollout is None
    return f"{row.reason} · {row.incumbent} answers" if answers and row.incumbent else row.reason


def _evidence(summary: Mapping[str, Any]) -> str:
    interval = f"[{points(summary['low'])}, {points(summary['high'])}]"
    return f"{summary['verdict']} {points(summary['difference'])} pts {interval} {odds(summary['no_worse'])}"

"""`changeover history`: who answered when, who decided it, why, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.text import Text

from changeover.app.installation import Installation
from changeover.cli.columns import clipped, hanging
from changeover.cli.frame import Json, clock_time, odds, out, points, print_json, require
from changeover.cli.running import check_task, opened
from changeover.evals.queries import find_comparison
from changeover.rollouts.queries import Event, events_of_task, find_rollout
from changeover.serving.queries import load_variants
from changeover.tasks.queries import route_history

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


def revisions(installation: Installation, task: str, limit: int) -> list[dict[str, Any]]:
    """Route revisions of a task with their evidence, and what else happened to its rollouts; newest first."""
    with installation.store.read() as connection:
        routes = route_history(connection, task, limit)
        variants = load_variants(connection, {id for route in routes for id in route.variants()})
        ids = {route.comparison for route in routes if route.comparison is not None}
        comparisons = {id: find_comparison(connection, id) for id in ids}
        happened = events_of_task(connection, task, routes[-1].created_at if len(routes) == limit else None)
    by_revision = {event.revision: event for event in happened if event.revision is not None}
    rows: list[dict[str, Any]] = []
    for route in routes:
        summary = comparisons[route.comparison].summary if route.comparison else None
        rows.append(
            {
                "revision": route.revision,
                "at": route.created_at,
                "action": route.action,
                "incumbent": variants[route.incumbent].deployment,
                "candidate": None if route.candidate is None else variants[route.candidate].deployment,
                "candidate_weight": route.candidate_weight,
                "actor": route.actor,
                "reason": route.reason,
                "rollout": route.rollout,
                "comparison": route.comparison,
                "evidence": summary,
                "seen": _seen(by_revision.get(route.revision)),
            }
        )
    rows += [_without_revision(event) for event in happened if event.revision is None]
    return sorted(rows, key=lambda row: (row["at"], row["revision"] or 0), reverse=True)


def _seen(event: Event | None) -> dict[str, Any] | None:
    """What a rollout's decision was made from."""
    return None if event is None or not event.evidence else dict(event.evidence)


def _without_revision(event: Event) -> dict[str, Any]:
    """Something that happened to a rollout and left everybody's requests where they were."""
    nothing = dict.fromkeys(("revision", "incumbent", "candidate", "candidate_weight", "comparison", "evidence"))
    return {
        **nothing,
        "at": event.at,
        "action": event.action,
        "actor": event.actor,
        "reason": event.reason,
        "rollout": event.rollout,
        "seen": _seen(event),
    }


def history_lines(installation: Installation, rows: list[dict[str, Any]], width: int) -> list[Text]:
    """The same for people: each rollout under a line that says what it is, with what allowed it."""
    headings = _headings(installation, {row["rollout"] for row in rows} - {None})
    who = min(max((cell_len(row["actor"]) for row in rows), default=0), LONGEST_WHO)
    lines: list[Text] = []
    for rollout, group in groupby(rows, key=lambda row: row["rollout"]):
        lines += [Text()] if lines else []
        lines += headings.get(rollout, [])
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


def _entry(row: dict[str, Any], who: int, width: int) -> list[Text]:
    """One thing that happened. A long reason goes on below its beginning."""
    at = clock_time(row["at"]) if width >= WIDE else clock_time(row["at"])[5:-3]
    revision = "" if row["revision"] is None else str(row["revision"])
    action = f"{row['action']} {100 * row['candidate_weight']:g} %" if row["candidate_weight"] else row["action"]
    before = f"{revision:>5}  {at}  {action:<11}  {_padded(row['actor'], who)}  "
    return hanging(before, Text(_why(row)), width)


def _padded(text: str, width: int) -> str:
    short = clipped(text, width)
    return short + " " * (width - cell_len(short))


def _why(row: dict[str, Any]) -> str:
    """The reason, and what else the line has to say."""
    seen: Mapping[str, Any] = row["seen"] or {}
    if row["action"] == "override":
        return f"{seen['gate']}, approved by {seen['approver']}: {row['reason']}"
    answers = row["action"] in ("promote", "rollback", "abort") or row["rollout"] is None
    return f"{row['reason']} · {row['incumbent']} answers" if answers and row["incumbent"] else row["reason"]


def _evidence(summary: Mapping[str, Any]) -> str:
    interval = f"[{points(summary['low'])}, {points(summary['high'])}]"
    return f"{summary['verdict']} {points(summary['difference'])} pts {interval} {odds(summary['no_worse'])}"

"""`changeover history`: who answered when, who decided it, why, and on what evidence."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from changeover.app.installation import Installation
from changeover.cli.frame import Json, clock_time, odds, out, plain, points, print_json
from changeover.cli.running import check_task, opened
from changeover.evals.queries import find_comparison
from changeover.rollouts.queries import Event, events_of_task
from changeover.serving.queries import load_variants
from changeover.tasks.queries import route_history

app = typer.Typer(add_completion=False)


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
    print_json(rows) if as_json else out.print(history_table(rows))


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


def history_table(rows: list[dict[str, Any]]) -> Table:
    """The same as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("rev", "when", "action", "answers", "who", "why", "evidence"):
        # Names stay whole; what people wrote may be folded.
        table.add_column(column, overflow="fold", no_wrap=column not in ("why", "evidence"))
    for row in rows:
        answers = row["incumbent"] or ""
        if row["candidate"]:
            share = f"{100 * row['candidate_weight']:g} %" if row["candidate_weight"] else "copies to"
            answers += f"\n{share} {row['candidate']}"
        table.add_row(
            "" if row["revision"] is None else str(row["revision"]),
            clock_time(row["at"]),
            row["action"],
            answers,
            plain(row["actor"]),
            plain(row["reason"]),
            _evidence(row),
        )
    return table


def _evidence(row: dict[str, Any]) -> str:
    summary = row["evidence"]
    if summary is None:
        return "–"
    interval = f"\\[{points(summary['low'])}, {points(summary['high'])}]"
    return f"{summary['verdict']} {points(summary['difference'])} pts {interval} {odds(summary['no_worse'])}"

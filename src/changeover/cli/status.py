"""`changeover status`: one look tells what needs a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from changeover.app.engine_words import engine_of
from changeover.app.installation import Installation
from changeover.app.local import running_address
from changeover.app.standing import NeedKind, Standing, standings
from changeover.app.tunings import Tunings, threads_of, tunings_here
from changeover.cli.columns import Cell, Columns, hanging, widest
from changeover.cli.frame import Json, clock_time, out, plain, print_json, require
from changeover.cli.running import opened
from changeover.core.sizes import in_mib
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout
from changeover.rollouts.queries import Override
from changeover.serving.queries import Deployment, all_deployments
from changeover.tasks.declarations import find_task
from changeover.tasks.queries import traffic

app = typer.Typer(add_completion=False)

TASKS = Columns(
    names=("task", "incumbent", "candidate", "rev", "requests 24 h", "failed", "cut"),
    right=("rev", "requests 24 h", "failed", "cut"),
    concessions=(("candidate", 20), ("incumbent", 16), ("task", 12), ("rev", 0), ("incumbent", 8), ("candidate", 8)),
)
STATE_COLOUR = {"ready": "green", "failed": "red", "restarting": "yellow", "starting": "yellow", "idle": "cyan"}


@app.command()
def status(
    task: Annotated[str | None, typer.Argument(help="Only this task.")] = None,
    as_json: Json = False,
) -> None:
    """Show who answers each task, how its last day went, and what runs.

    Example: changeover status
    """
    installation = opened()
    found = standings(installation, task)
    with installation.store.read() as connection:
        deployments, tunings = all_deployments(connection), tunings_here(installation, connection)
    if task is not None and task not in found:
        find_task(installation.tasks, task)
    address = running_address(installation.project.state)
    tasks = [_task(installation, each) for each in found.values() if not each.removed]
    removed = [_task(installation, each) for each in found.values() if each.removed]
    if as_json:
        said = [{**asdict(row), "threads": threads_of(row, tunings)} for row in deployments]
        print_json({"address": address, "tasks": tasks, "removed": removed, "deployments": said})
        return
    running = f"{address}/v1" if address else "[yellow]not running[/]  changeover up"
    out.print(f"[bold]{installation.project.settings.name}[/]  {running}")
    for line in _task_lines(tasks, [each for each in found.values() if not each.removed], out.width):
        out.print(line)
    for line in _removed_lines(removed, all_of_them=task is not None):
        out.print(line)
    out.print()
    out.print(_deployment_table(deployments, tunings, running=address is not None))


def _task(installation: Installation, standing: Standing) -> dict[str, Any]:
    """A task as `--json` says it."""
    with installation.store.read() as connection:
        day = traffic(connection, standing.task, installation.clock.now() - timedelta(days=1))
    return {
        "task": standing.task,
        "revision": standing.route.revision,
        "incumbent": standing.incumbent,
        "incumbent_stopped": standing.incumbent_stopped,
        "candidate": standing.candidate,
        "candidate_weight": standing.route.candidate_weight,
        "former": standing.former,
        "shadow_share": standing.route.shadow_share,
        "rollout": None if standing.rollout is None else _rollout(standing, standing.rollout),
        "rollout_candidate": standing.rollout_candidate,
        "overrides": standing.overrides,
        "prompt_edited": standing.prompt_edited,
        "changed": None if standing.changed is None else standing.changed.at,
        "last_day": day,
        "not_allowed": standing.not_allowed,
    }


def _rollout(standing: Standing, rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "state": rollout.state,
        "step": rollout.step,
        "stage": rollout.stage,
        "tier": rollout.plan.tier,
        "hold": rollout.hold,
        "comparison": rollout.comparison,
        "approved": standing.approved,
        "approvals_missing": standing.approvals_missing,
        "approvers": rollout.plan.approvers,
        "approve_before": rollout.plan.approve_before,
        "bakes_until": standing.bakes_until,
    }


def _task_lines(tasks: list[dict[str, Any]], standing: Iterable[Standing], width: int) -> Iterable[Text]:
    """Who answers each task, on one line; below all of them what needs a person."""
    if not tasks:
        return
    rows = [{name: Cell(text) for name, text in _cells(task).items()} for task in tasks]
    headings = {name: Cell(name, "dim") for name in TASKS.names}
    widths = TASKS.fitted({name: widest(name, name, rows) for name in TASKS.names}, width)
    for row in (headings, *rows):
        yield TASKS.line(row, widths)
    for each in standing:
        for hint in _hints(each):
            yield from hanging(f"{each.task}  ", Text.from_markup(hint), width)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    day = row["last_day"]
    counts = (row["revision"], day["requests"], day["failed_requests"], day["truncated_streams"])
    return dict(zip(TASKS.names, (row["task"], row["incumbent"], _candidate(row), *map(str, counts)), strict=True))


def _candidate(row: Mapping[str, Any]) -> str:
    """Who may take over, and how far that has come."""
    rollout: Mapping[str, Any] | None = row["rollout"]
    if rollout is not None and rollout["state"] in BEFORE_PROMOTION:
        return f"{row['rollout_candidate']} {rollout['stage']}"
    return f"{row['candidate']} {100 * row['candidate_weight']:g} %" if row["candidate"] else "–"


def _hints(standing: Standing) -> Iterable[str]:
    """What needs a person, and that somebody bakes."""
    overrides = iter(standing.overrides)
    for need in standing.needs():
        yield _override_hint(next(overrides)) if need == "override" else _HINTS[need](standing)
    if standing.bakes_until is not None:
        yield f"[dim]{standing.incumbent} was promoted and bakes until {clock_time(standing.bakes_until)}[/]"


def _nobody(standing: Standing) -> str:
    return f"[red]nobody answers[/]: {standing.incumbent} was stopped · changeover deploy {standing.incumbent}"


def _failed(standing: Standing) -> str:
    row = standing.incumbent_row
    return f"[red]engine failed[/]: {plain(standing.incumbent)}: {plain('' if row is None else row.detail)}"


def _not_allowed(standing: Standing) -> str:
    return f"[red]not allowed[/]: {plain(standing.not_allowed or '')} · changeover licences"


def _changed(standing: Standing) -> str:
    check = require(standing.changed, "It is the same.")
    return (
        f"[red]answers changed[/]: {plain(check.deployment)} answers {check.changed} pinned samples otherwise than before · "
        f"changeover history {standing.task}"
    )


def _held(standing: Standing) -> str:
    hold = require(standing.hold, "It goes on.")
    return f"[yellow]{hold.kind}[/] by {plain(hold.actor)}: {plain(hold.reason)} · changeover resume {standing.task}"


def _approval(standing: Standing) -> str:
    """Who has still to agree."""
    rollout, missing = require(standing.rollout, "It is gone."), standing.approvals_missing
    who = f" of {plain(', '.join(rollout.plan.approvers))}" if rollout.plan.approvers else ""
    needs = f"needs {missing} approval{'s' * (missing > 1)}{who} before the {rollout.plan.approve_before}"
    return f"[yellow]{needs}[/] · changeover approve {standing.task}"


def _override_hint(override: Override) -> str:
    until = f"until {clock_time(override.expires_at)}"
    return f"[yellow]{override.gate} overridden[/] {until} by {plain(override.approver)}: {plain(override.reason)}"


def _prompt(standing: Standing) -> str:
    return f"prompt edited: changeover switch {standing.task} --to {standing.incumbent}"


_HINTS: Mapping[NeedKind, Callable[[Standing], str]] = {
    "nobody": _nobody,
    "failed": _failed,
    "not_allowed": _not_allowed,
    "changed": _changed,
    "hold": _held,
    "approval": _approval,
    "prompt": _prompt,
}


def _removed_lines(rows: list[dict[str, Any]], *, all_of_them: bool) -> Iterable[str]:
    """What is still going on with tasks that nobody can call any more; without `all_of_them` only where something is."""
    for row in rows:
        name, state = plain(row["task"]), row["rollout"] and row["rollout"]["state"]
        if state in BEFORE_PROMOTION:
            rest = (
                f"the {state} of {row['rollout_candidate']} gets no more requests; it goes on if the task comes back, "
                f"or ends: changeover abort {name}"
            )
        elif state == "baking":
            rest = f"{row['incumbent']} was promoted; its bake time ends by itself"
        elif all_of_them:
            rest = f"requests for it get a 404; {row['incumbent']} answers if it comes back"
        else:
            continue
        yield f"{name}  [yellow]removed[/]  {rest}"


def _deployment_table(deployments: list[Deployment], tunings: Tunings, *, running: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("deployment", "engine", "state", "memory", "restarts", ""):
        right = column in ("memory", "restarts")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "", overflow="fold")
    for row in deployments:
        state = row.state if running else "stopped"
        colour = STATE_COLOUR.get(state, "dim")
        memory = in_mib(row.memory_bytes) if running and row.pid and row.memory_bytes else "–"
        threads = threads_of(row, tunings)
        detail = row.detail if state != "ready" else f"threads {threads}" if threads else ""
        table.add_row(
            row.name,
            plain(engine_of(row)),
            f"[{colour}]{state}[/]",
            memory,
            str(row.restarts),
            f"[dim]{plain(detail)}[/]",
        )
    return table

"""`changeover status`: one look tells what needs a person."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from changeover.app.installation import Installation
from changeover.app.licence_checks import not_allowed_now
from changeover.app.local import running_address
from changeover.app.tunings import Tunings, threads_of, tunings_here
from changeover.cli.columns import Cell, Columns, hanging, widest
from changeover.cli.engine_words import engine_of
from changeover.cli.frame import Json, clock_time, out, plain, print_json
from changeover.cli.running import opened
from changeover.core.sizes import in_mib
from changeover.library.licences.words import refusal
from changeover.rollouts.decide import BEFORE_PROMOTION, Hold, Rollout, missing_approvals
from changeover.rollouts.queries import approvals_of, latest_rollout, open_overrides
from changeover.serving.queries import Deployment, all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.applied import removed_tasks
from changeover.tasks.declarations import find_task
from changeover.tasks.queries import current_routes, traffic
from changeover.tasks.routes import Route

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
    with installation.store.read() as connection:
        routes, gone = current_routes(connection), removed_tasks(connection)
        deployments, tunings = all_deployments(connection), tunings_here(installation, connection)
    if task is not None and task not in routes:
        find_task(installation.tasks, task)
    address = running_address(installation.project.state)
    stopped = {row.name for row in deployments if row.desired == "stopped"}
    denied = {each.task: refusal(each) for each in not_allowed_now(installation)}
    rows = [
        {**_task(installation, route, stopped), "not_allowed": denied.get(name)}
        for name, route in routes.items()
        if task in (None, name)
    ]
    tasks = [row for row in rows if row["task"] not in gone]
    removed = [row for row in rows if row["task"] in gone]
    if as_json:
        said = [{**asdict(row), "threads": threads_of(row, tunings)} for row in deployments]
        print_json({"address": address, "tasks": tasks, "removed": removed, "deployments": said})
        return
    running = f"{address}/v1" if address else "[yellow]not running[/]  changeover up"
    out.print(f"[bold]{installation.project.settings.name}[/]  {running}")
    for line in _task_lines(tasks, out.width):
        out.print(line)
    for line in _removed_lines(removed, all_of_them=task is not None):
        out.print(line)
    out.print()
    out.print(_deployment_table(deployments, tunings, running=address is not None))


def _task(installation: Installation, route: Route, stopped: Container[str | None]) -> dict[str, Any]:
    with installation.store.read() as connection:
        rollout = latest_rollout(connection, route.task)
        approved = [] if rollout is None else [each.actor for each in approvals_of(connection, rollout.id)]
        named = (*route.variants(), *([] if rollout is None else [rollout.candidate]))
        variants = load_variants(connection, named)
        day = traffic(connection, route.task, installation.clock.now() - timedelta(days=1))
        overrides = [each for each in open_overrides(connection) if each.task == route.task]
    incumbent = _deployment_of(variants, route.incumbent)
    return {
        "task": route.task,
        "revision": route.revision,
        "incumbent": incumbent,
        "incumbent_stopped": incumbent in stopped,
        "candidate": _deployment_of(variants, route.candidate),
        "candidate_weight": route.candidate_weight,
        "former": _deployment_of(variants, route.former),
        "shadow_share": route.shadow_share,
        "rollout": None if rollout is None else _rollout(rollout, approved),
        "rollout_candidate": None if rollout is None else _deployment_of(variants, rollout.candidate),
        "overrides": overrides,
        "prompt_edited": _prompt_edited(installation, route, variants),
        "last_day": day,
    }


def _rollout(rollout: Rollout, approved: Sequence[str]) -> dict[str, Any]:
    bakes_until = rollout.step_started_at + timedelta(seconds=rollout.plan.bake_s)
    return {
        "id": rollout.id,
        "state": rollout.state,
        "step": rollout.step,
        "stage": rollout.stage,
        "tier": rollout.plan.tier,
        "hold": rollout.hold,
        "comparison": rollout.comparison,
        "approved": approved,
        "approvals_missing": missing_approvals(rollout, approved) if rollout.state in BEFORE_PROMOTION else 0,
        "approvers": rollout.plan.approvers,
        "approve_before": rollout.plan.approve_before,
        "bakes_until": bakes_until if rollout.state == "baking" else None,
    }


def _prompt_edited(installation: Installation, route: Route, variants: Mapping[str, Variant]) -> bool:
    """The files say another prompt or other parameters than those that answer: they wait for a switch."""
    declared = installation.tasks.get(route.task)
    if declared is None:
        return False
    live = variants[route.incumbent].bundle
    return (live.prompt, dict(live.parameters)) != (declared.prompt, dict(declared.declared.parameters))


def _deployment_of(variants: Mapping[str, Variant], id: str | None) -> str | None:
    return None if id is None else variants[id].deployment


def _task_lines(tasks: list[dict[str, Any]], width: int) -> Iterable[Text]:
    """Who answers each task, on one line; below all of them what needs a person."""
    if not tasks:
        return
    rows = [{name: Cell(text) for name, text in _cells(task).items()} for task in tasks]
    headings = {name: Cell(name, "dim") for name in TASKS.names}
    widths = TASKS.fitted({name: widest(name, name, rows) for name in TASKS.names}, width)
    for row in (headings, *rows):
        yield TASKS.line(row, widths)
    for task in tasks:
        for hint in _hints(task):
            yield from hanging(f"{task['task']}  ", Text.from_markup(hint), width)


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


def _hints(row: Mapping[str, Any]) -> Iterable[str]:
    """What needs a person."""
    rollout, name = row["rollout"], row["task"]
    if row["incumbent_stopped"]:
        yield f"[red]nobody answers[/]: {row['incumbent']} was stopped · changeover deploy {row['incumbent']}"
    if row["not_allowed"] is not None:
        yield f"[red]not allowed[/]: {plain(row['not_allowed'])} · changeover licences"
    if rollout is not None and rollout["hold"] is not None:
        hold: Hold = rollout["hold"]
        yield f"[yellow]{hold.kind}[/] by {plain(hold.actor)}: {plain(hold.reason)} · changeover resume {name}"
    if rollout is not None:
        yield from _agreement(row, rollout)
        if rollout["bakes_until"] is not None:
            yield f"[dim]{row['incumbent']} was promoted and bakes until {clock_time(rollout['bakes_until'])}[/]"
    for override in row["overrides"]:
        until = f"until {clock_time(override.expires_at)}"
        yield f"[yellow]{override.gate} overridden[/] {until} by {plain(override.approver)}: {plain(override.reason)}"
    if row["prompt_edited"]:
        yield f"prompt edited: changeover switch {name} --to {row['incumbent']}"


def _agreement(row: Mapping[str, Any], rollout: Mapping[str, Any]) -> Iterable[str]:
    """Who has still to agree, unless somebody let it pass without."""
    missing = rollout["approvals_missing"]
    if missing and not any(override.gate == "approval" for override in row["overrides"]):
        who = f" of {plain(', '.join(rollout['approvers']))}" if rollout["approvers"] else ""
        needs = f"needs {missing} approval{'s' * (missing > 1)}{who} before the {rollout['approve_before']}"
        yield f"[yellow]{needs}[/] · changeover approve {row['task']}"


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

"""The work of `changeover trial`, and of `changeover switch --from-trial`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import typer
from rich.console import Group
from rich.live import Live as LiveDisplay

from changeover.app.installation import Installation
from changeover.app.local import gateway_address
from changeover.app.measuring import runner_of
from changeover.app.trial_lines import document
from changeover.app.trials import Begun, Trying, begin_trial, check_trial, start_rollouts, table_of
from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from changeover.cli.frame import actor, clock_time, err, note, out, plain, print_json, run
from changeover.cli.running import ensure_running, opened
from changeover.cli.trial_table import progress_line, table_lines
from changeover.core.errors import ConfigError, GateError
from changeover.evals.trial_queries import Trial, find_trial, newest_trial, recent_trials, tasks_of_trial
from changeover.evals.trials import Row, Table
from changeover.rollouts.actions import By
from changeover.rollouts.duration import courses_of

MOST_LISTED = 20


def try_everywhere(candidate: str, only: tuple[str, ...], max_calls: int | None, as_json: bool) -> int:
    """Begin a trial, or go on with the unfinished one, to its end. Returns the exit status."""
    installation = opened()
    gateway_address(installation.project)
    check_trial(installation, candidate, only)  # before it is fetched for nothing
    ensure_running(installation, candidate)
    begun, resumed = begin_trial(installation, candidate, only, actor())
    if resumed:
        note(f"goes on with trial {begun.id}, begun {clock_time(begun.started_at)}")
    try:
        table = run(_tried(installation, begun, max_calls))
    except KeyboardInterrupt:
        note(f"trial {begun.id} is kept as far as it is. Go on: changeover trial {candidate}")
        raise
    _print(installation, table, as_json)
    return _status(table)


def show_trial(id: int | None, as_json: bool) -> int:
    """Show a trial again, the newest where none is named. Returns the exit status."""
    installation = opened()
    _print(installation, _kept(installation, id), as_json)
    return EXIT_PASS


def list_trials(as_json: bool) -> int:
    """List the trials, newest first. Returns the exit status."""
    installation = opened()
    with installation.store.read() as connection:
        tables = [table_of(connection, trial) for trial in recent_trials(connection, MOST_LISTED)]
    if as_json:
        print_json([_summary(table) for table in tables])
        return EXIT_PASS
    for table in tables:
        said = _summary(table)
        state = "" if table.ended_at is not None else "  [yellow]unfinished[/]"
        out.print(
            f"{table.trial:>4}  [dim]{clock_time(table.started_at)}[/]  [bold]{plain(table.candidate)}[/]  "
            f"{said['tasks']} tasks · {said['switch']} could switch · {said['keep']} keep · "
            f"{said['undecided']} undecided{state}"
        )
    if not tables:
        out.print("No trial yet. `changeover candidates` lists what could be tried.")
    return EXIT_PASS


def switch_from(id: int, task: str | None, reason: str, yes: bool, as_json: bool) -> int:
    """Begin the rollouts that a trial recommends. Returns the exit status."""
    installation = opened()
    table = _kept(installation, id)
    holding = [row.task for row in table.tried if row.holds and task in (None, row.task)]
    if not holding:
        raise GateError(_none_to_switch(table, task))
    if not yes:
        _ask(table, holding)
    gateway_address(installation.project)
    ensure_running(installation, table.candidate)
    begun = start_rollouts(installation, table, task, By(actor=actor(), reason=reason, now=installation.clock.now()))
    started = [each for each in begun if each.rollout is not None]
    if as_json:
        print_json({"trial": table.trial, "candidate": table.candidate, "tasks": begun})
    else:
        _print_begun(table, begun)
    return EXIT_PASS if started else EXIT_FAIL


async def _tried(installation: Installation, trial: Trial, max_calls: int | None) -> Table:
    with LiveDisplay(console=err, transient=True, auto_refresh=False) as display:
        show = _on_terminal(display) if err.is_terminal else _in_lines(_finished(installation, trial))
        trying = Trying(
            installation,
            trial,
            partial(runner_of, installation),
            max_calls=max_calls,
            actor=actor(),
            on_change=show,
        )
        return await trying.run()


def _on_terminal(display: LiveDisplay) -> Callable[[Table], None]:
    return lambda table: display.update(Group(*table_lines(table, err.width, running=True)), refresh=True)


def _in_lines(shown: set[str]) -> Callable[[Table], None]:
    """A line for each task that has been through."""

    def show(table: Table) -> None:
        for row in table.tried:
            if row.task not in shown and row.outcome.kind not in ("running", "waiting"):
                shown.add(row.task)
                err.print(plain(progress_line(row)), style="dim")

    return show


def _finished(installation: Installation, trial: Trial) -> set[str]:
    """Tasks of an unfinished trial that have been through."""
    with installation.store.read() as connection:
        return {row.task for row in tasks_of_trial(connection, trial.id)}


def _kept(installation: Installation, id: int | None) -> Table:
    with installation.store.read() as connection:
        return table_of(connection, newest_trial(connection) if id is None else find_trial(connection, id))


def _print(installation: Installation, table: Table, as_json: bool) -> None:
    with installation.store.read() as connection:
        courses = courses_of(connection, table.trial)
    if as_json:
        print_json(document(table, courses))
        return
    for line in table_lines(table, out.width, courses):
        out.print(line)


def _status(table: Table) -> int:
    if table.count("switch", "switch if wanted"):
        return EXIT_PASS
    broken = any(row.outcome.kind == "failed" for row in table.tried)
    return EXIT_INCONCLUSIVE if broken or table.count("undecided") or not table.tried else EXIT_FAIL


def _summary(table: Table) -> dict[str, Any]:
    return {
        "trial": table.trial,
        "candidate": table.candidate,
        "started_at": table.started_at,
        "ended_at": table.ended_at,
        "tasks": len(table.tried),
        "switch": table.count("switch", "switch if wanted"),
        "keep": table.count("keep"),
        "undecided": table.count("undecided"),
        "not_tried": table.count("none"),
    }


def _none_to_switch(table: Table, task: str | None) -> str:
    row: Row | None = next((row for row in table.tried if row.task == task), None)
    if task is None:
        why = "no task"
    elif row is None:
        return f"Trial {table.trial} did not try `{task}`. `changeover trial --show {table.trial}` shows what it did."
    else:
        why = f"no switch of `{task}` (it says: {row.recommendation or row.verdict})"
    return f"Trial {table.trial} recommends {why}. `changeover trial --show {table.trial}` shows why."


def _ask(table: Table, tasks: list[str]) -> None:
    """Have a person agree.

    Raises:
        ConfigError: Nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"This begins {len(tasks)} rollouts: {', '.join(tasks)}. Say that you mean it: `--yes`.")
    note(f"{table.candidate} would begin to take over: {', '.join(tasks)}")
    typer.confirm(f"Begin {len(tasks)} rollout{'s' * (len(tasks) != 1)}?", abort=True, err=True)


def _print_begun(table: Table, begun: list[Begun]) -> None:
    size = max(len(each.task) for each in begun)
    for each in begun:
        if each.rollout is not None:
            out.print(f"  [green]▸[/] {each.task:<{size}}  rollout {each.rollout.id} began: {each.rollout.state}")
        else:
            out.print(f"  [dim]·[/] {each.task:<{size}}  [dim]skipped: {plain(each.skipped)}[/]")
    started = sum(each.rollout is not None for each in begun)
    out.print(
        f"{started} of {len(begun)} began from trial {table.trial}   changeover status   "
        f"changeover trial --show {table.trial}"
    )

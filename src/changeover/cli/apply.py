"""`changeover apply`: what stands in the files becomes what is answered by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from changeover.app.apply import Change, Outcome
from changeover.app.apply import apply as apply_declarations
from changeover.app.health import gateway_state
from changeover.app.installation import open_installation
from changeover.app.local import operator_key, running_address
from changeover.cli.frame import Json, actor, here, note, out, plain, print_json

app = typer.Typer(add_completion=False)

FOLLOW_WAIT_S = 20.0
POLL_S = 0.1
COLOUR = {"new": "green", "changed": "yellow", "removed": "red"}


@app.command()
def apply(
    check: Annotated[bool, typer.Option("--check", help="Only say what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Check all declarations, show what changes, and let the gateways answer by them: all at once or not at all.

    A running system follows at once. Prompts and parameters are part of what was measured: a switch brings them in.

    Example: changeover apply --check
    """
    project = here()
    installation = open_installation(project)
    try:
        for problem in installation.problems[1:]:
            note(problem.message)
        outcome = apply_declarations(installation, actor(), check=check)
    finally:
        installation.store.close()
    if outcome.committed and not _followed(project.state, outcome):
        note("the gateway has not followed yet; it goes on trying")
    if as_json:
        print_json(outcome)
        return
    for change in outcome.changes:
        _show(change)
    for refused in outcome.not_allowed:
        out.print(f"[yellow]warning[/]  {plain(refused)}", soft_wrap=True)
    out.print(_ending(outcome, check))


def _followed(state: Path, outcome: Outcome) -> bool:
    """Wait until the gateway of this project, if it runs, answers by what was applied: what was made can then be used."""
    address = running_address(state)
    if address is None:
        return True
    key = "tools_declarations" if any(change.of == "tool" for change in outcome.changes) else "declarations"
    deadline = time.monotonic() + FOLLOW_WAIT_S
    while time.monotonic() < deadline:
        said = gateway_state(address, operator_key(state), FOLLOW_WAIT_S)
        if said is None:
            return False
        if said.get(key, 0) >= (outcome.revision or 0):
            return True
        time.sleep(POLL_S)
    return False


def _show(change: Change) -> None:
    if change.of == "tool":
        out.print(f"[dim]tool[/] [bold]{plain(change.task)}[/]  [{COLOUR[change.kind]}]{change.kind}[/]")
        return
    by = f"  answered by {plain(change.incumbent)}" if change.kind == "new" else ""
    gone = "  requests for it get a 404; its history stays" if change.kind == "removed" else ""
    out.print(f"[bold]{plain(change.task)}[/]  [{COLOUR[change.kind]}]{change.kind}[/]{by}{gone}")
    _lines(change.changes)
    if change.waits:
        _lines([f"waits for a switch: {'; '.join(change.waits)}"])
        out.print(
            f"  [dim]{plain(change.incumbent)} answers as it was measured until[/]  "
            f"changeover switch {change.task} --to {plain(change.incumbent)}"
        )


def _lines(lines: Sequence[str]) -> None:
    for line in lines:
        out.print(f"  {plain(line)}")


def _ending(outcome: Outcome, check: bool) -> str:
    if outcome.committed:
        return f"applied as revision {outcome.revision}"
    if check and outcome.changes:
        return "could be applied; nothing was changed"
    return f"nothing to apply; revision {outcome.revision} holds"

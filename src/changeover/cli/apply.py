"""`changeover apply`: what stands in the files becomes what is answered by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from changeover.app.apply import Change, Outcome
from changeover.app.apply import apply as apply_declarations
from changeover.app.installation import open_installation
from changeover.cli.frame import Json, actor, here, note, out, plain, print_json

app = typer.Typer(add_completion=False)

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
    installation = open_installation(here())
    try:
        for problem in installation.problems[1:]:
            note(problem.message)
        outcome = apply_declarations(installation, actor(), check=check)
    finally:
        installation.store.close()
    if as_json:
        print_json(outcome)
        return
    for change in outcome.changes:
        _show(change)
    for refused in outcome.not_allowed:
        out.print(f"[yellow]warning[/]  {plain(refused)}", soft_wrap=True)
    out.print(_ending(outcome, check))


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

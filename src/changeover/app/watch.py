"""Applying declarations whenever their files change, for as long as the system runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from changeover.app.apply import Change, apply
from changeover.app.installation import Installation, read_again
from changeover.core.actors import WATCH
from changeover.core.errors import ChangeoverError
from changeover.core.marks import Marks, marks_of
from changeover.core.threads import in_thread

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Files that changed are applied once they have stayed as they are for so long: an editor writes more than once."""
RETRY_S = 5.0
"""What was refused is tried again, for its cause may lie elsewhere: weights that were missing, a store that was gone."""


async def watch(installation: Installation) -> None:
    """Apply for ever, on every change of a project's files. A refusal is logged once and changes nothing."""
    seen: Marks | None = None
    settled: Marks | None = None
    # What was broken at the start was said there.
    refused = installation.problems[0].message if installation.problems else None
    tried = time.monotonic()
    while True:
        marks = await in_thread(partial(marks_of_declarations, installation))
        changed = marks == seen and marks != settled
        if changed or (refused is not None and time.monotonic() - tried >= RETRY_S):
            settled, tried = marks, time.monotonic()
            refused = await in_thread(partial(_apply, installation, refused))
        seen = marks
        await asyncio.sleep(POLL_S)


def _apply(installation: Installation, refused: str | None) -> str | None:
    """Apply what stands in the files now; gives why not, which is logged unless it was the reason before."""
    try:
        now = read_again(installation)
        for problem in now.problems[1:]:
            if problem.message not in (refused or ""):
                log.error("declarations: also: %s", problem)
        outcome = apply(now, WATCH)
    except ChangeoverError as exc:
        if exc.message != refused:
            log.error("declarations: not applied: %s", exc)
        return exc.message
    if outcome.committed:
        log.info("declarations: applied as revision %d: %s", outcome.revision, _in_short(outcome.changes))
    elif refused is not None:
        log.info("declarations: as they were applied, revision %d", outcome.revision)
    return None


def _in_short(changes: Sequence[Change]) -> str:
    return "; ".join(f"{each.task} {each.kind}" for each in changes) or "no task changed"


def marks_of_declarations(installation: Installation) -> Marks:
    """Everything that declarations are made of, as it is now: equal for as long as no file of them changes."""
    return marks_of(sorted(set(_paths(installation))))


def _paths(installation: Installation) -> Iterator[Path]:
    project = installation.project
    yield project.policy
    for directory in (project.tasks, project.tools, project.cards):
        if directory.is_dir():
            yield from (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".pyc")
    for task in installation.tasks.values():
        yield task.dataset
        yield task.file.parent / task.declared.prompt
        if task.declared.input is not None:
            yield task.file.parent / task.declared.input

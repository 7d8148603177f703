"""Keeping a case from a page: the form with which it is done, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from starlette.datastructures import FormData

from changeover.app.keeping import Case, Kept, keep, place_for, shape_of
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, RequestError
from changeover.rollouts.actions import By
from changeover.tasks.declarations import Task

LONGEST_TAG = 64
KEPT = "Kept as sample {} of {}, the dataset of {}, which has {} samples now."
KEPT_BESIDE = (
    "Kept as sample {} in {}: the dataset of {} is shared or no JSONL file, so that it counts once that file is named in "
    "the task. It has {} samples."
)


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The form by which an answer is kept."""

    action: str
    task: str
    target: str
    tags: str = ""
    error: str | None = None
    opened: bool = False


@dataclass(frozen=True, kw_only=True)
class Home:
    """A task that a case can be kept for."""

    task: str
    path: str
    is_dataset: bool
    shape: str
    """What another target of it looks like, where that is shown."""


async def homes_of(visit: Visit, *named: str) -> list[Home]:
    """Tasks that somebody may keep a case for; of those that are named, also what a target looks like."""
    if visit.desk is None or not visit.person.may("operate"):
        return []
    installation = visit.installation

    def home(task: Task) -> Home:
        path, is_dataset = place_for(task, installation)
        root = installation.project.root.resolve()
        shape = shape_of(task) if task.name in named else ""
        return Home(task=task.name, path=str(path.relative_to(root)), is_dataset=is_dataset, shape=shape)

    tasks = [task for name, task in sorted(installation.tasks.items()) if visit.person.may_see(name)]
    return await visit.do(lambda: [home(task) for task in tasks])


def kept_as(form: FormData, action: str) -> Keeping:
    target = text_of(form, "target").replace("\r\n", "\n")
    return Keeping(action=action, task=text_of(form, "task"), target=target, tags=text_of(form, "tags"))


async def keep_case(visit: Visit, typed: Keeping, case: Case) -> Kept | ChangeoverError:
    """Keep a case and say so; or why it was not kept."""
    try:
        if not typed.task:
            raise RequestError("Choose the task whose dataset the case goes into.")
        visit.require_task(typed.task)
        by = By(actor=visit.person.actor, reason="", now=visit.installation.clock.now())
        kept = await visit.do(partial(keep, visit.installation, typed.task, case, by))
    except ChangeoverError as failure:
        return failure
    if kept.is_dataset:
        visit.tell(KEPT, kept.id, kept.path, typed.task, kept.samples)
    else:
        visit.tell(KEPT_BESIDE, kept.id, kept.path, typed.task, kept.samples)
    return kept


def tags_of(text: str) -> tuple[str, ...]:
    """Tags between commas or lines.

    >>> tags_of("long, german,, ")
    ('long', 'german')
    """
    return tuple(tag[:LONGEST_TAG] for each in text.replace("\n", ",").split(",") if (tag := each.strip()))

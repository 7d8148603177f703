"""Every query on trials, and on what kept answers say of a trial's cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from statistics import fmean
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from changeover.core.errors import ChangeoverError
from changeover.evals.queries import batched
from changeover.evals.trials import Outcome
from changeover.store.schema import answers, trial_tasks, trials


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate on every task that it could serve."""

    id: int
    candidate: str
    """Deployment."""
    plan: Mapping[str, Any]
    """Fixed at the start: `tasks` in order, `rate` of false switches, `licence` of the candidate."""
    actor: str
    started_at: datetime
    ended_at: datetime | None
    """None while it runs, or where it was interrupted."""


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """How a trial went on one task."""

    trial: int
    task: str
    position: int
    comparison: str | None
    outcome: Outcome
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a bundle's kept answers to some questions took."""

    kept: frozenset[tuple[str, int]]
    """What was asked, with the repeat."""
    duration_ms: float | None
    """Means; None where nothing was answered, or nobody counted."""
    prompt_tokens: float | None
    completion_tokens: float | None
    longest_prompt: int | None
    """Tokens."""


_TRIAL_FIELDS = [each.name for each in fields(Trial)]


def add_trial(connection: Connection, trial: Trial) -> Trial:
    """Write a new trial and return it with its number."""
    values = asdict(trial)
    del values["id"]
    key = connection.execute(insert(trials).values(**values)).inserted_primary_key
    assert key is not None
    return replace(trial, id=int(key[0]))


def end_trial(connection: Connection, id: int, now: datetime) -> None:
    connection.execute(update(trials).where(trials.c.id == id).values(ended_at=now))


def put_trial_task(connection: Connection, row: TrialTask) -> None:
    """Write how a trial went on a task, in place of what was written of it before."""
    connection.execute(delete(trial_tasks).where(trial_tasks.c.trial == row.trial, trial_tasks.c.task == row.task))
    connection.execute(insert(trial_tasks).values({**asdict(row), "outcome": asdict(row.outcome)}))


def find_trial(connection: Connection, id: int) -> Trial:
    """Get a trial by its number.

    Raises:
        ChangeoverError: There is none.
    """
    found = _first(connection, select(trials).where(trials.c.id == id))
    if found is None:
        raise ChangeoverError(f"No trial {id}. `changeover trial --list` lists them.")
    return found


def newest_trial(connection: Connection) -> Trial:
    """The trial that was begun last.

    Raises:
        ChangeoverError: There was none yet.
    """
    found = _first(connection, select(trials).order_by(trials.c.id.desc()).limit(1))
    if found is None:
        raise ChangeoverError("There was no trial yet. `changeover candidates` lists what could be tried.")
    return found


def unfinished_trial(connection: Connection, candidate: str, since: datetime) -> Trial | None:
    """The newest trial of a candidate that was begun since then, if it did not come to its end."""
    newest = select(trials).where(trials.c.candidate == candidate).order_by(trials.c.id.desc()).limit(1)
    found = _first(connection, newest)
    return found if found is not None and found.ended_at is None and found.started_at >= since else None


def recent_trials(connection: Connection, limit: int, before: int | None = None) -> list[Trial]:
    """Trials, newest first: of all, or of those that were begun before one of them."""
    query = select(trials) if before is None else select(trials).where(trials.c.id < before)
    return [_trial(row) for row in connection.execute(query.order_by(trials.c.id.desc()).limit(limit))]


def tasks_of_trial(connection: Connection, id: int) -> list[TrialTask]:
    """How a trial went so far, in its order."""
    rows = connection.execute(select(trial_tasks).where(trial_tasks.c.trial == id).order_by(trial_tasks.c.position))
    return [_trial_task(row) for row in rows]


def trials_of_task(connection: Connection, task: str, among: int) -> list[tuple[Trial, TrialTask]]:
    """How the newest trials went on one task, newest first; those of the newest `among` of all that tried it."""
    newest = recent_trials(connection, among)
    rows = connection.execute(
        select(trial_tasks).where(trial_tasks.c.trial.in_([each.id for each in newest]), trial_tasks.c.task == task)
    )
    found = {row.trial: _trial_task(row) for row in rows}
    return [(each, found[each.id]) for each in newest if each.id in found]


def figures_of(connection: Connection, bundle: str, asked: Iterable[str]) -> Figures:
    """What a bundle's kept answers to these questions took; failures are left out."""
    wanted = (
        answers.c.sample,
        answers.c.repeat,
        answers.c.duration_ms,
        answers.c.prompt_tokens,
        answers.c.completion_tokens,
    )
    rows = [
        row
        for keys in batched(dict.fromkeys(asked))
        for row in connection.execute(
            select(*wanted).where(answers.c.bundle == bundle, answers.c.sample.in_(keys), answers.c.error.is_(None))
        )
    ]
    prompts = [row.prompt_tokens for row in rows if row.prompt_tokens is not None]
    return Figures(
        kept=frozenset((row.sample, row.repeat) for row in rows),
        duration_ms=_mean([row.duration_ms for row in rows]),
        prompt_tokens=_mean(prompts),
        completion_tokens=_mean([row.completion_tokens for row in rows if row.completion_tokens is not None]),
        longest_prompt=max(prompts, default=None),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _first(connection: Connection, query: Select[Any]) -> Trial | None:
    row = connection.execute(query).first()
    return None if row is None else _trial(row)


def _trial(row: Row[Any]) -> Trial:
    return Trial(**{name: getattr(row, name) for name in _TRIAL_FIELDS})


def _trial_task(row: Row[Any]) -> TrialTask:
    return TrialTask(
        trial=row.trial,
        task=row.task,
        position=row.position,
        comparison=row.comparison,
        outcome=Outcome(**row.outcome),
        at=row.at,
    )

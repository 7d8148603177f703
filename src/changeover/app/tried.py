"""How a trial stands for whoever looks at it from elsewhere: what is kept of it, and what is measured at this moment."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from changeover.app.comparisons import MOST_OPEN, SILENT_AFTER, UnderWay, under_way
from changeover.app.trial_lines import to_switch
from changeover.app.trials import table_of
from changeover.evals.queries import Verdict, last_sample, open_comparisons
from changeover.evals.trial_queries import Trial, TrialTask, tasks_of_trial
from changeover.evals.trials import Outcome, Row, Table, judged
from changeover.rollouts.duration import Course, courses_of
from changeover.rollouts.queries import active_rollouts
from changeover.serving.queries import load_variants
from changeover.tasks.queries import current_routes


@dataclass(frozen=True, kw_only=True)
class Hindrance:
    """What is in the way of a switch that a trial recommends, as far as rows tell."""

    kind: Literal["rollout", "done", "other"]
    """Another rollout is under way; the candidate answers already; somebody else than the trial's incumbent does."""
    rollout: int | None = None
    incumbent: str = ""
    """Who answers by now."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial as it stands."""

    trial: Trial
    table: Table
    """With the task that is measured now, as far as that is."""
    courses: Mapping[str, Course]
    """What became of its switches, by task."""
    hindered: Mapping[str, Hindrance]
    """Recommended switches that no rollout of this trial has taken up and that cannot begin now, by task."""
    last_at: datetime
    """When something was last added."""
    alive: bool
    """It has not ended, and somebody runs it."""


def tried(connection: Connection, trial: Trial, now: datetime) -> Tried:
    """How a trial stands now."""
    table, rows = table_of(connection, trial), tasks_of_trial(connection, trial.id)
    last_at = max([trial.started_at, *(row.at for row in rows)])
    open_one = None if trial.ended_at is not None else _measured_now(connection, trial, table)
    measured = False
    if open_one is not None:
        made = under_way(connection, open_one.id, now)
        last_at = max(last_at, made.last_at)
        measured = made.alive
        if measured:
            with_it = [_row(made, now) if row.task == open_one.task else row for row in table.rows]
            table = replace(table, rows=judged(with_it, table.rate))
    courses = courses_of(connection, trial.id)
    return Tried(
        trial=trial,
        table=table,
        courses=courses,
        hindered=_hindered(connection, table, to_switch(table, courses)),
        last_at=last_at,
        alive=trial.ended_at is None and now - last_at <= SILENT_AFTER and (measured or not _left(rows)),
    )


def _left(rows: Sequence[TrialTask]) -> bool:
    """Whether the last that was written of it is that a task waits for another time: so it was stopped."""
    return bool(rows) and max(rows, key=lambda row: row.at).outcome.kind == "waiting"


def _hindered(connection: Connection, table: Table, tasks: Sequence[str]) -> Mapping[str, Hindrance]:
    if not tasks:
        return {}
    under_way_now = {each.task: each.id for each in active_rollouts(connection)}
    routes = current_routes(connection)
    variants = load_variants(connection, {routes[name].incumbent for name in tasks if name in routes})
    measured = {row.task: row.outcome.incumbent for row in table.rows}
    found: dict[str, Hindrance] = {}
    for name in tasks:
        answers = variants[routes[name].incumbent].deployment if name in routes else ""
        if name in under_way_now:
            found[name] = Hindrance(kind="rollout", rollout=under_way_now[name])
        elif answers == table.candidate:
            found[name] = Hindrance(kind="done", incumbent=answers)
        elif answers != measured[name]:
            found[name] = Hindrance(kind="other", incumbent=answers)
    return found


def mark_of(
    connection: Connection, trial: Trial, sees: Callable[[str], bool] = lambda _: True
) -> tuple[Hashable, str | None, int]:
    """What changes whenever a trial comes on: tasks that are through, the comparison that is open, its last sample.

    Args:
        connection: To read it.
        trial: Which.
        sees: Whether whoever follows it may see a task; what happens on others is no change to them.
    """
    rows = tasks_of_trial(connection, trial.id)
    waiting = set(trial.plan["tasks"]) - {row.task for row in rows}
    found = _open(connection, trial, waiting) if trial.ended_at is None else None
    found = None if found is None or not sees(found.task) else found
    last = None if found is None else last_sample(connection, found.id)
    done = tuple((row.task, row.at) for row in rows if sees(row.task))
    return done, None if found is None else found.id, 0 if last is None else last.position


def _measured_now(connection: Connection, trial: Trial, table: Table) -> Verdict | None:
    return _open(connection, trial, {row.task for row in table.rows if row.outcome.kind == "waiting"})


def _open(connection: Connection, trial: Trial, waiting: set[str]) -> Verdict | None:
    """The comparison of a trial that has no verdict yet."""
    open_ones = open_comparisons(connection, trial.started_at, MOST_OPEN)
    variants = load_variants(connection, {each.candidate for each in open_ones})
    return next(
        (each for each in open_ones if each.task in waiting and variants[each.candidate].deployment == trial.candidate),
        None,
    )


def _row(made: UnderWay, now: datetime) -> Row:
    """The line of a task that is measured now."""
    seen, count = made.evidence, len(made.growth.samples)
    return Row(
        task=made.comparison.task,
        outcome=Outcome(
            kind="running",
            incumbent=made.incumbent,
            calls_new=made.answers_new,
            calls_kept=made.answers_kept,
            seconds=(now - made.comparison.started_at).total_seconds(),
        ),
        comparison=made.comparison.id,
        verdict="inconclusive",
        difference=made.difference if count else None,
        low=None if seen is None else seen.get("low", -1.0),
        high=None if seen is None else seen.get("high", 1.0),
        samples=count,
        max_samples=made.most,
        no_worse=None if seen is None else seen["no_worse"],
    )

"""The changeover time: from the trial, or the comparison, to the promotion, and where it went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from changeover.core.clock import span
from changeover.evals.queries import find_comparison
from changeover.evals.trial_queries import find_trial
from changeover.rollouts.decide import Rollout, State
from changeover.rollouts.queries import rollout_history, rollouts_of_trial


@dataclass(frozen=True, kw_only=True)
class ChangeoverTime:
    """How long a changeover took. The parts add up to the whole."""

    started_at: datetime
    promoted_at: datetime
    measuring_s: float
    """Until there was a verdict; 0 where it was there before."""
    waiting_s: float
    """From the verdict until somebody began the rollout: other tasks of the trial are measured meanwhile, people decide."""
    steps_s: float
    """Shadow and canary."""

    @property
    def total_s(self) -> float:
        return (self.promoted_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Course:
    """What became of a switch that a trial recommended."""

    rollout: int
    state: State
    held: bool
    total_s: float | None
    time: ChangeoverTime | None
    """None before the promotion, and where there was none."""


def changeover_time(connection: Connection, rollout: Rollout) -> ChangeoverTime | None:
    """How long a changeover took: from the start of its trial, or else of its comparison, or else of the rollout.

    Returns:
        None for a rollout that was not promoted.
    """
    events = rollout_history(connection, rollout.id)
    promoted_at = next((event.at for event in reversed(events) if event.action == "promote"), None)
    if promoted_at is None:
        return None
    comparison = None if rollout.comparison is None else find_comparison(connection, rollout.comparison)
    if rollout.trial is not None:
        started_at = find_trial(connection, rollout.trial).started_at
    elif comparison is not None:
        started_at = min(comparison.started_at, rollout.created_at)
    else:
        started_at = rollout.created_at
    measured_at = started_at if comparison is None or comparison.ended_at is None else comparison.ended_at
    measured_at = min(max(measured_at, started_at), promoted_at)
    # The evaluation of a proposed rollout comes after its start: nothing waited then.
    stepping_at = max(rollout.created_at, measured_at)
    return ChangeoverTime(
        started_at=started_at,
        promoted_at=promoted_at,
        measuring_s=(measured_at - started_at).total_seconds(),
        waiting_s=(stepping_at - measured_at).total_seconds(),
        steps_s=(promoted_at - stepping_at).total_seconds(),
    )


def changeover_line(time: ChangeoverTime) -> str:
    """A changeover time on one line."""
    return (
        f"changeover time {span(time.total_s)}: measuring {span(time.measuring_s)} · waiting {span(time.waiting_s)} · "
        f"shadow and canary {span(time.steps_s)}"
    )


def courses_of(connection: Connection, trial: int) -> dict[str, Course]:
    """What became of a trial's switches, by task: the newest rollout of each."""
    courses: dict[str, Course] = {}
    for rollout in rollouts_of_trial(connection, trial):
        time = changeover_time(connection, rollout)
        courses[rollout.task] = Course(
            rollout=rollout.id,
            state=rollout.state,
            held=rollout.hold is not None,
            total_s=None if time is None else time.total_s,
            time=time,
        )
    return courses


def course_line(course: Course) -> str:
    """What became of a switch, on one line."""
    if course.time is not None and course.state in ("baking", "done"):
        return f"promoted by rollout {course.rollout} · {changeover_line(course.time)}"
    held = ", on hold" if course.held else ""
    return f"rollout {course.rollout}: {course.state.replace('_', ' ')}{held}"

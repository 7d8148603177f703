"""How a rollout stands: its stages, what it waits for, what is known of the candidate. What commands and pages show of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Literal

from sqlalchemy import Connection

from changeover.app.comparisons import Growth
from changeover.core.actors import SYSTEM
from changeover.core.clock import Clock, span
from changeover.core.errors import UnknownTaskError
from changeover.evals.queries import Comparison, compared_samples, find_comparison, running_comparison
from changeover.rollouts.decide import (
    ACTIVE,
    BEFORE_PROMOTION,
    Evidence,
    Reading,
    Rollout,
    Wait,
    alarm_at,
    decide,
    missing_approvals,
)
from changeover.rollouts.duration import ChangeoverTime, changeover_time
from changeover.rollouts.observing import Observer
from changeover.rollouts.queries import (
    Approval,
    Event,
    Override,
    approvals_of,
    find_rollout,
    overrides_of,
    rollout_history,
)
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.tasks.exchanges import Copies
from changeover.tasks.queries import copies, current_route
from changeover.tasks.routes import Route

StageState = Literal["done", "now", "ahead", "out", "never"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a rollout, from the evaluation to the bake time."""

    name: str
    state: StageState
    """`out`: the rollout ended in it, before its candidate was through; `never`: it ended before it."""
    at: datetime | None
    """When it began."""
    said: str
    """What ended it, or began it."""
    by: str
    """Who said so."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A rollout and everything that a person needs to decide on it."""

    rollout: Rollout
    route: Route | None
    """The task's, as it is now."""
    incumbent: str
    """Its deployment."""
    candidate: str
    stages: Sequence[Stage]
    events: Sequence[Event]
    waits_for: str
    """What has to happen before it goes on by itself; empty once it has ended."""
    evidence: Evidence | None
    """What is known of the candidate; None where nobody has been watched."""
    readings: Sequence[Reading]
    """What the guards have seen; of a rollout that has ended, at its last decision."""
    guard: float
    alarm: float
    growth: Growth | None
    approvals: Sequence[Approval]
    approvals_missing: int
    overrides: Sequence[Override]
    took: ChangeoverTime | None
    copied: Copies | None
    """What its shadow took so far; None once it has ended."""


class Lookout:
    """Looks at rollouts for a process that shows them: reads only what arrived since the last look. Thread safe."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._observer = Observer(store, lambda _: True, clock)
        self._watched: dict[int, datetime] = {}
        """Rollouts under way that somebody looks at, and when they last did."""

    def evidence(self, rollout: Rollout) -> Evidence | None:
        """What is known of a rollout's candidate now; None once it has ended."""
        if rollout.state not in ACTIVE:
            return None
        with self._lock:
            now = self._clock.now()
            self._watched[rollout.id] = now
            self._watched = {id: at for id, at in self._watched.items() if now - at < FORGOTTEN_AFTER}
            with self._store.read() as connection:
                others = [find_rollout(connection, id) for id in self._watched if id != rollout.id]
            self._observer.look([rollout, *(each for each in others if each is not None and each.state in ACTIVE)])
            return self._observer.evidence(rollout)

    def standing(self, id: int) -> Standing:
        """How a rollout stands now. Takes its time: call it in a thread.

        Raises:
            UnknownTaskError: There is none of that number.
            StoreError: The store cannot be used.
        """
        with self._store.read() as connection:
            rollout = known_rollout(connection, id)
        evidence = self.evidence(rollout)
        with self._store.read() as connection:
            variants = load_variants(connection, [rollout.incumbent, rollout.candidate])
            events = rollout_history(connection, rollout.id)
            approvals = approvals_of(connection, rollout.id)
            readings, guard = seen_by_guards(evidence, events)
            comparison = (
                running_comparison(connection, rollout.task, rollout.candidate, rollout.created_at)
                if rollout.comparison is None
                else find_comparison(connection, rollout.comparison)
            )
            samples = [] if comparison is None else compared_samples(connection, comparison.id)
            usable = [each for each in samples if each.usable]
            return Standing(
                rollout=rollout,
                route=current_route(connection, rollout.task),
                incumbent=variants[rollout.incumbent].deployment,
                candidate=variants[rollout.candidate].deployment,
                stages=stages_of(rollout, events, comparison),
                events=events,
                waits_for=waits_for(rollout, evidence, self._clock.now()),
                evidence=evidence,
                readings=readings,
                guard=guard,
                alarm=alarm_at(rollout),
                growth=None
                if comparison is None
                else Growth(
                    comparison=comparison,
                    samples=[each.evidence for each in usable],
                    differences=[each.candidate_score - each.incumbent_score for each in usable],
                ),
                approvals=approvals,
                approvals_missing=missing_approvals(rollout, [each.actor for each in approvals])
                if rollout.state in BEFORE_PROMOTION
                else 0,
                overrides=overrides_of(connection, rollout.id),
                took=changeover_time(connection, rollout),
                copied=copies(connection, rollout.task, rollout.candidate, rollout.created_at)
                if rollout.state in ACTIVE
                else None,
            )


FORGOTTEN_AFTER = timedelta(minutes=2)
"""What nobody looked at for so long is watched no more."""


def known_rollout(connection: Connection, id: int) -> Rollout:
    """A rollout by its number.

    Raises:
        UnknownTaskError: There is none.
    """
    rollout = find_rollout(connection, id)
    if rollout is None:
        raise UnknownTaskError(f"No rollout `{id}`. `changeover history TASK` names those of a task.")
    return rollout


def waits_for(rollout: Rollout, evidence: Evidence | None, now: datetime) -> str:
    """What a rollout waits for, by the same decision that its controller makes."""
    if evidence is None:
        return ""
    decision = decide(rollout, evidence, now)
    return decision.reason if isinstance(decision, Wait) else "goes on"


def ahead_of(rollout: Rollout) -> Sequence[str]:
    """What comes after the present stage."""
    done = -1 if rollout.state == "evaluation" else rollout.step
    steps = [step.name for step in rollout.plan.steps[done + 1 :]]
    return () if rollout.state == "baking" else (*steps, "promotion", f"{span(rollout.plan.bake_s)} of bake time")


def seen_by_guards(evidence: Evidence | None, events: Sequence[Event]) -> tuple[Sequence[Reading], float]:
    """What each guard has seen, and all together: now, or when the last decision was made."""
    if evidence is not None:
        return evidence.guards, evidence.guard
    for event in reversed(events):
        seen: Any = event.evidence
        if "guards" in seen:
            return [Reading(**each) for each in seen["guards"]], float(seen["guard"])
    return (), 0.0


def stages_of(rollout: Rollout, events: Sequence[Event], comparison: Comparison | None) -> Sequence[Stage]:
    """Every stage in order: those that are done, the present one, and those that are to come."""
    began: dict[int, Event] = {}
    for event in events:
        entered: Any = event.evidence.get("entered")
        if entered is not None:
            began.setdefault(int(entered), event)
    promoted = next((event for event in events if event.action == "promote"), None)
    last = events[-1] if events else None
    over = rollout.state not in ACTIVE
    reached = -1 if not began else max(began)
    verdict = "" if comparison is None or comparison.verdict is None else comparison.verdict
    stopped = last if over and not (began or promoted) else None
    made = [
        Stage(
            name="evaluation",
            state=_state(began or promoted, here=over or rollout.state == "evaluation", over=over),
            at=comparison.started_at if comparison is not None else rollout.created_at,
            said=verdict if stopped is None else stopped.reason,
            by=SYSTEM if stopped is None else stopped.actor,
        )
    ]
    for number, step in enumerate(rollout.plan.steps):
        event = began.get(number)
        after = began.get(number + 1) or promoted
        here = number == reached and (rollout.state in ("shadow", "canary") or (over and promoted is None))
        ended = last if here and over else after
        made.append(
            Stage(
                name=step.name,
                state=_state(after, here=here, over=over),
                at=None if event is None else event.at,
                said="" if ended is None or event is None else ended.reason,
                by="" if ended is None else ended.actor,
            )
        )
    back = last is not None and promoted is not None and rollout.state == "rolled_back"
    made.append(
        Stage(
            name="promotion",
            state=_state(promoted, here=False, over=over),
            at=promoted.at if promoted else None,
            said=promoted.reason if promoted else "",
            by=promoted.actor if promoted else "",
        )
    )
    made.append(
        Stage(
            name=f"bake {span(rollout.plan.bake_s)}",
            state=_state(rollout.state == "done", here=promoted is not None, over=over),
            at=promoted.at if promoted else None,
            said=last.reason if last is not None and (back or rollout.state == "done") else "",
            by="" if last is None else last.actor,
        )
    )
    return made


def _state(after: object, *, here: bool, over: bool) -> StageState:
    if after:
        return "done"
    if here:
        return "out" if over else "now"
    return "never" if over else "ahead"

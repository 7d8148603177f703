"""Simulated requests for one rollout, put through the product's own `decide` and `Guards`. No sockets, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from changeover.rollouts.actions import plan_of
from changeover.rollouts.decide import (
    Advance,
    Evidence,
    Finish,
    Plan,
    Promote,
    RollBack,
    Rollout,
    State,
    Step,
    decide,
)
from changeover.rollouts.guards import Guards
from changeover.tasks.declarations import TaskDeclaration, Tier
from changeover.tasks.exchanges import Outcomes

Tails = Literal["lognormal", "pareto"]
Machine = Literal["steady", "drifts", "jumps"]

START = datetime(2026, 1, 1, tzinfo=UTC)
PER_SECOND = 2.0
TICK = 20
"""Requests between two looks where the candidate was asked nothing meanwhile."""
BLOCK = 2_000
"""Requests that are drawn at once."""
TYPICAL_MS = 400.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares of one variant's requests that go wrong."""

    failed: float = 0.005
    violated: float = 0.005
    disliked: float = 0.1
    slower: float = 1.0
    """Times the incumbent's durations."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What answers, and on what machine."""

    candidate: Faults = Faults()
    tails: Tails = "lognormal"
    machine: Machine = "steady"
    times: float = 1.0
    """How much slower the machine gets, for both."""
    rated: float = 0.2
    """Share of answers that a user says something of."""


@dataclass(frozen=True)
class Ended:
    """How a simulated rollout went."""

    state: State
    at: State
    """Where it was when it ended."""
    asked: int
    """Requests that the candidate was asked, copies included."""
    rated: int
    baked: int
    """Of those asked, after the promotion."""
    promoted: bool


def tier_plan(tier: Tier) -> Plan:
    """What a task of a tier declares, without the people who must agree."""
    declared = TaskDeclaration.model_validate(
        {
            "description": "simulated",
            "prompt": "none",
            "dataset": "none",
            "first_incumbent": "echo",
            "scorer": {"name": "exact"},
            "tier": tier,
        }
    )
    return replace(plan_of(declared), approvals=0)


def endless(requests: int, share: float = 0.25) -> Plan:
    """One canary that lasts for so many requests of the candidate."""
    return replace(tier_plan("low"), steps=(Step(canary=share, requests=requests, hold_s=0.0),))


def durations(tails: Tails, random: np.random.Generator, size: int) -> np.ndarray:
    """What answers take on a steady machine, milliseconds."""
    if tails == "lognormal":
        return TYPICAL_MS * random.lognormal(0.0, 0.5, size)
    return TYPICAL_MS * (1.0 + random.pareto(1.2, size))  # no variance


def machine_factors(world: World, first: int, size: int, jump_at: int) -> np.ndarray:
    """How slow the machine is at each request."""
    number = np.arange(first, first + size)
    if world.machine == "drifts":  # up and down again, as over a day
        return np.exp(math.log(world.times) * (1.0 - np.cos(2.0 * math.pi * number / 4_000)) / 2.0)
    if world.machine == "jumps":
        return np.where(number >= jump_at, world.times, 1.0)
    return np.ones(size)


class Simulation:
    """One rollout from its first step on."""

    def __init__(self, plan: Plan, world: World, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._world = world
        self._guards = Guards(plan)
        self._jump_at = int(self._random.integers(0, 600))
        first = plan.steps[0]
        self.rollout = Rollout(
            id=1,
            task="simulated",
            incumbent="a",
            candidate="b",
            comparison="cmp",
            plan=plan,
            state=first.kind,
            step=0,
            step_started_at=START,
            actor="simulation",
            reason="",
            created_at=START,
        )
        self._asked = self._failed = self._rated = self._baked = 0
        self._step_asked = self._step_failed = 0
        self._was: State = first.kind
        for duration in durations(world.tails, self._random, self._guards.history).tolist():
            self._guards.incumbent(duration)

    def run(self, most: int, *, bake: bool = True) -> Ended:
        """Send requests until the rollout ends, or so many were sent.

        Args:
            most: Requests, to whomever.
            bake: Go on after the promotion.
        """
        for number, (place, duration, *fates) in enumerate(self._requests(most)):
            asked = self._send(place, duration, *fates)
            if asked or number % TICK == 0:
                self.look(number / PER_SECOND)
            state = self.rollout.state
            if state in ("done", "rolled_back") or (state == "baking" and not bake):
                break
        return Ended(
            state=self.rollout.state,
            at=self._was,
            asked=self._asked,
            rated=self._rated,
            baked=self._baked,
            promoted=self._was == "baking" or self.rollout.state == "baking",
        )

    def _requests(self, most: int) -> Iterator[tuple[float, ...]]:
        world, faults = self._world, self._world.candidate
        for first in range(0, most, BLOCK):
            size = min(BLOCK, most - first)
            uniform = self._random.random((4, size))
            took = durations(world.tails, self._random, size) * machine_factors(world, first, size, self._jump_at)
            # Of the feedback column the lowest part says that somebody rated, and within it that he disliked.
            rating = np.where(
                uniform[3] < world.rated * faults.disliked, 1.0, np.where(uniform[3] < world.rated, 0.0, -1.0)
            )
            columns = (uniform[0], took, uniform[1] < faults.failed, uniform[2] < faults.violated, rating)
            yield from zip(*(column.tolist() for column in columns), strict=True)

    def _send(self, place: float, duration: float, failed: float, violated: float, rating: float) -> bool:
        """One request. Says whether the candidate was asked."""
        state = self.rollout.state
        share = 1.0 if state == "baking" else self.rollout.plan.steps[self.rollout.step].share
        if state == "shadow" or place >= share:
            self._guards.incumbent(duration)
        if place >= share:
            return False
        self._guards.candidate(
            failed=bool(failed), violated=bool(violated), duration_ms=duration * self._world.candidate.slower
        )
        self._asked += 1
        self._failed += bool(failed)
        self._step_asked += 1
        self._step_failed += bool(failed)
        self._baked += state == "baking"
        if state != "shadow" and not failed and rating >= 0.0:
            self._rated += 1
            self._guards.feedback(rating == 0.0)
        return True

    def look(self, after_s: float) -> None:
        """Decide, and do to the rollout what `rollouts/actions.py` would write."""
        evidence = Evidence(
            whole=Outcomes(asked=self._asked, failed=self._failed),
            step=Outcomes(asked=self._step_asked, failed=self._step_failed),
            guard=self._guards.evidence,
            candidate_ready=True,
            verdict="pass",
        )
        now = START + timedelta(seconds=after_s)
        match decide(self.rollout, evidence, now):
            case Advance(step=step):
                self._move(self.rollout.plan.steps[step].kind, step, now)
            case Promote():
                self._guards.promoted()
                self._move("baking", self.rollout.step, now)
            case RollBack():
                self._move("rolled_back", self.rollout.step, now)
            case Finish():
                self._move("done", self.rollout.step, now)
            case _:
                pass

    def _move(self, state: State, step: int, now: datetime) -> None:
        self._was = self.rollout.state
        self.rollout = replace(self.rollout, state=state, step=step, step_started_at=now)
        self._step_asked = self._step_failed = 0


def promoted_without_traffic(plan: Plan, days: int = 30) -> bool:
    """Whether a rollout that nobody sends a request ever goes on to anything, looked at once an hour."""
    simulation = Simulation(plan, World(), 1)
    begun = simulation.rollout
    for hour in range(24 * days):
        simulation.look(hour * 3600.0)
    return simulation.rollout != begun

"""What to do next with a rollout: pure, so that every decision can be shown as a table.

No data never promotes; doubt waits; an alarm goes back, whatever else is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from changeover.tasks.exchanges import Outcomes

State = Literal["canary", "baking", "done", "rolled_back", "aborted"]

ACTIVE: tuple[State, ...] = ("canary", "baking")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of the canary."""

    canary: float
    requests: int
    hold_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was declared when the rollout began. A later edit of the task does not change it."""

    steps: tuple[Step, ...]
    tolerated_failures: float
    alpha: float
    bake_s: float


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One attempt to replace an incumbent."""

    id: int
    task: str
    incumbent: str
    candidate: str
    comparison: str | None
    plan: Plan
    state: State
    step: int
    step_started_at: datetime
    actor: str
    reason: str
    created_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the candidate since the rollout began."""

    whole: Outcomes
    """Since the rollout began."""
    step: Outcomes
    """Since this step began."""
    guard: float
    """E-value against "the candidate's failures are tolerable"; an alarm at 1 / alpha."""
    candidate_ready: bool


@dataclass(frozen=True)
class Wait:
    """Nothing to do yet."""

    reason: str


@dataclass(frozen=True)
class Advance:
    """Go to the next step."""

    step: int
    reason: str


@dataclass(frozen=True)
class Promote:
    """The candidate becomes the incumbent."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """The incumbent of before answers everything again."""

    reason: str


@dataclass(frozen=True)
class Finish:
    """The bake time is over."""

    reason: str


Decision = Wait | Advance | Promote | RollBack | Finish


def decide(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """The one next thing to do."""
    limit = 1 / rollout.plan.alpha
    if evidence.guard >= limit:
        return RollBack(
            f"{evidence.whole.failed} of {evidence.whole.asked} requests to the candidate failed: "
            f"evidence {evidence.guard:.0f} : 1, alarm at {limit:.0f} : 1"
        )
    if rollout.state == "baking":
        return _baking(rollout, now)
    return _canary(rollout, evidence, now)


def _baking(rollout: Rollout, now: datetime) -> Decision:
    over = rollout.step_started_at + timedelta(seconds=rollout.plan.bake_s)
    if now < over:
        return Wait(f"bakes for another {(over - now).total_seconds():.0f} s")
    return Finish(f"no alarm in {rollout.plan.bake_s:g} s after the promotion")


def _canary(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    step = rollout.plan.steps[rollout.step]
    if evidence.step.asked < step.requests:
        return Wait(f"{evidence.step.asked} of {step.requests} requests answered by the candidate")
    held = (now - rollout.step_started_at).total_seconds()
    if held < step.hold_s:
        return Wait(f"holds for another {step.hold_s - held:.0f} s")
    if not evidence.candidate_ready:
        return Wait("the candidate's engine is not ready")
    seen = f"{evidence.step.asked} requests, {evidence.step.failed} failed, guard {evidence.guard:.1f} : 1"
    if rollout.step + 1 < len(rollout.plan.steps):
        return Advance(rollout.step + 1, seen)
    return Promote(seen)

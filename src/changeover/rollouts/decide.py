"""What to do next with a rollout: pure, so that every decision can be shown as a table.

No data never promotes; doubt waits for a person; an alarm goes back, whatever else is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from changeover.core.clock import span
from changeover.tasks.exchanges import Outcomes

State = Literal["evaluation", "shadow", "canary", "baking", "done", "rolled_back", "aborted", "refused"]
Stage = Literal["canary", "promotion"]
GuardName = Literal["errors", "violations", "latency", "feedback"]

ACTIVE: tuple[State, ...] = ("evaluation", "shadow", "canary", "baking")
BEFORE_PROMOTION: tuple[State, ...] = ("evaluation", "shadow", "canary")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage between the evaluation and the promotion: a shadow or a canary."""

    canary: float | None = None
    """Share of requests that the candidate answers; None: a shadow."""
    shadow: float | None = None
    """Share of answered requests that are put to it too."""
    requests: int
    hold_s: float

    @property
    def kind(self) -> Literal["shadow", "canary"]:
        return "shadow" if self.canary is None else "canary"

    @property
    def share(self) -> float:
        return (self.shadow or 0.0) if self.canary is None else self.canary

    @property
    def name(self) -> str:
        """As people read it, such as `canary 5 %`."""
        return f"{self.kind} {100 * self.share:g} %"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was declared when the rollout began. A later edit of the task does not change it."""

    steps: tuple[Step, ...]
    tolerated_failures: float
    alpha: float
    bake_s: float
    tolerated_violations: float = 0.03
    tolerated_slow: float = 0.1
    slowdown: float = 3.0
    tolerated_dislikes: float = 0.3
    shadow_margin: float = 0.1
    """Largest loss of the first shadow scorer that is accepted."""
    drift_requests: int = 20_000
    """After the promotion: at most one false alarm in so many requests, on average."""
    tier: str = "low"
    approvals: int = 0
    """People who must agree, besides whoever started it."""
    approvers: tuple[str, ...] = ()
    """Who may; empty: anybody else."""
    approve_before: Stage = "canary"
    exchange: bool = False
    """Memory does not hold both: the engines are exchanged at the promotion, and there is no shadow and no canary."""
    exchange_s: float = 600.0
    """Longest time from there until the candidate's engine can answer; then the former one comes back."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A rollout waits for a person. Its guards stay on."""

    kind: Literal["paused", "held"]
    """Somebody paused it, or it holds by itself because the evidence decides nothing."""
    actor: str
    reason: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One attempt to replace an incumbent."""

    id: int
    task: str
    incumbent: str
    candidate: str
    comparison: str | None
    """What allows it; None while the evaluation is under way, or where nobody measured."""
    plan: Plan
    state: State
    step: int
    """Index into the plan's steps; of no meaning in `evaluation`."""
    step_started_at: datetime
    hold: Hold | None = None
    override: int | None = None
    """Id of the override that let it pass a gate."""
    trial: int | None = None
    """Id of the trial that it came from."""
    actor: str
    reason: str
    created_at: datetime
    ended_at: datetime | None = None

    @property
    def stage(self) -> str:
        """Where it is, as people read it, such as `canary 5 %`."""
        return self.plan.steps[self.step].name if self.state in ("shadow", "canary") else self.state.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one guard has seen and thinks."""

    name: GuardName
    events: int
    bad: int
    tolerated: float
    """Share of bad events that raises no alarm."""
    evidence: float
    """E-value against "no more are bad than tolerated"; after the promotion that of the drift detector."""
    note: str = ""
    """Such as what counts as slow, or why it cannot tell yet."""


@dataclass(frozen=True, kw_only=True)
class Exchanging:
    """How an exchange of engines stands, from the promotion until it is written down that the candidate can answer."""

    state: Literal["under way", "ready", "failed"]
    seen: str
    """Of the candidate's engine, in words."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the candidate since the rollout began."""

    whole: Outcomes
    """Requests that the candidate was asked since the rollout began, copies included."""
    step: Outcomes
    """Since this step began."""
    guard: float
    """All guards together: an alarm at `alarm_at`."""
    candidate_ready: bool
    guards: tuple[Reading, ...] = ()
    verdict: str | None = None
    """Of the evaluation: `pass`, `fail`, `inconclusive`; None while there is none."""
    approved: tuple[str, ...] = ()
    """Who has agreed."""
    overridden: tuple[str, ...] = ()
    """Gates that an override which has not ended lets it pass: `evaluation`, `approval`."""
    scored: str | None = None
    """What the scores of copied requests show: `pass`, `fail`, `inconclusive`; None: nothing is scored."""
    terms: str | None = None
    """Why the policy or a licence keeps the candidate from the task; None: nothing does."""
    exchange: Exchanging | None = None
    """None where engines are not exchanged, or have been."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do yet."""

    reason: str


@dataclass(frozen=True)
class PutOnHold:
    """The evidence decides nothing: a person must."""

    reason: str


@dataclass(frozen=True)
class Refuse:
    """The evaluation failed: the rollout ends before any traffic."""

    reason: str


@dataclass(frozen=True)
class Advance:
    """Go to a step."""

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


@dataclass(frozen=True)
class Settle:
    """Engines have been exchanged: the bake time begins."""

    reason: str


Decision = Wait | PutOnHold | Refuse | Advance | Promote | RollBack | Finish | Settle


def alarm_at(rollout: Rollout) -> float:
    """Evidence at which the guards take the candidate out."""
    return float(rollout.plan.drift_requests) if rollout.state == "baking" else 1 / rollout.plan.alpha


def decide(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """The one next thing to do."""
    limit = alarm_at(rollout)
    if evidence.guard >= limit:
        return RollBack(_alarm(evidence, limit))
    if rollout.state == "baking":
        return _baking(rollout, now) if evidence.exchange is None else _exchanging(evidence.exchange)
    if evidence.scored == "fail" and rollout.state == "shadow":
        return RollBack("its answers to copied requests score worse than the incumbent's by more than is accepted")
    if rollout.hold is not None:
        return Wait(f"{rollout.hold.kind} by {rollout.hold.actor}: {rollout.hold.reason}")
    if evidence.terms is not None:
        return PutOnHold(evidence.terms)
    if rollout.state == "evaluation":
        return _evaluation(rollout, evidence)
    return _stepping(rollout, evidence, now)


def _alarm(evidence: Evidence, limit: float) -> str:
    """Which guard it was, and what it saw."""
    odds = f"evidence {evidence.guard:.0f} : 1, alarm at {limit:.0f} : 1"
    worst = max(evidence.guards, key=lambda reading: reading.evidence, default=None)
    if worst is None or worst.name == "errors":
        seen = evidence.whole if worst is None else Outcomes(asked=worst.events, failed=worst.bad)
        return f"{seen.failed} of {seen.asked} requests to the candidate failed: {odds}"
    what = {
        "violations": "answers broke the contract",
        "latency": "answers were too slow",
        "feedback": "ratings by users were bad",
    }[worst.name]
    note = f" ({worst.note})" if worst.note else ""
    return f"{worst.bad} of {worst.events} {what}{note}: {odds}"


def _exchanging(exchange: Exchanging) -> Decision:
    if exchange.state == "failed":
        return RollBack(exchange.seen)
    return Settle(exchange.seen) if exchange.state == "ready" else Wait(exchange.seen)


def _baking(rollout: Rollout, now: datetime) -> Decision:
    over = rollout.step_started_at + timedelta(seconds=rollout.plan.bake_s)
    if now < over:
        return Wait(f"the bake time, which ends in {span((over - now).total_seconds())}")
    return Finish(f"no alarm in {rollout.plan.bake_s:g} s after the promotion")


def _evaluation(rollout: Rollout, evidence: Evidence) -> Decision:
    if "evaluation" in evidence.overridden:
        return _enter(rollout, evidence, 0, "the evaluation's gate is overridden")
    if evidence.verdict is None:
        return Wait("the evaluation is under way")
    if evidence.verdict == "fail":
        return Refuse("the evaluation failed")
    if evidence.verdict != "pass":
        return PutOnHold("the evaluation is inconclusive: more samples or a larger margin would decide it")
    return _enter(rollout, evidence, 0, "the evaluation passed")


def _stepping(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    step = rollout.plan.steps[rollout.step]
    if evidence.step.asked < step.requests:
        what = "copied to" if step.kind == "shadow" else "answered by"
        return Wait(f"{evidence.step.asked} of {step.requests} requests {what} the candidate")
    held = max(0.0, (now - rollout.step_started_at).total_seconds())  # a clock that was set back does not count
    if held < step.hold_s:
        return Wait(f"holds for another {step.hold_s - held:.0f} s")
    seen = f"{evidence.step.asked} requests, {evidence.step.failed} failed, guard {evidence.guard:.1f} : 1"
    return _enter(rollout, evidence, rollout.step + 1, seen)


def _enter(rollout: Rollout, evidence: Evidence, step: int, seen: str) -> Decision:
    """Go on to a step, or to the promotion after the last one, if its gates let it pass."""
    plan = rollout.plan
    last = step >= len(plan.steps)
    stage: Stage | None = "promotion" if last else "canary" if plan.steps[step].kind == "canary" else None
    missing = missing_approvals(rollout, evidence.approved)
    asked = stage == "promotion" or (stage == "canary" and plan.approve_before == "canary")
    if asked and missing and "approval" not in evidence.overridden:
        who = f" of {', '.join(plan.approvers)}" if plan.approvers else ""
        return Wait(
            f"needs {missing} approval{'s' * (missing > 1)}{who} before the {stage}: changeover approve {rollout.task}"
        )
    if not evidence.candidate_ready and not (last and plan.exchange):
        return Wait("the candidate's engine is not ready")
    return Promote(seen) if last else Advance(step, seen)


def missing_approvals(rollout: Rollout, approved: Sequence[str]) -> int:
    """How many more people must agree."""
    plan = rollout.plan
    counted = {name for name in approved if name != rollout.actor and (not plan.approvers or name in plan.approvers)}
    return max(plan.approvals - len(counted), 0)

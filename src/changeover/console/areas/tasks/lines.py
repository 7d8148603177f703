"""A task as a line of the table, and what all of them come to: from rows, in queries that look at a bounded number of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from changeover.app.standing import NEEDS, NeedKind, Standing
from changeover.evals.queries import Verdict, newest_verdicts
from changeover.gateway.usage_queries import Hour, hours_of
from changeover.rollouts.duration import ChangeoverTime, changeover_time
from changeover.rollouts.queries import Override, find_rollout
from changeover.tasks.feedback import goods_of
from changeover.tasks.queries import newest_promotion
from changeover.tasks.traffic_queries import newest_durations, percentile

HOURS = 24
RATED = timedelta(days=30)
MANY_FAILED = 0.05
SOME_FAILED = 0.01
"""Shares of failed requests."""
FEW = 3
"""Failures that are no state of health yet."""

Health = Literal["good", "warm", "bad", ""]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """A task's requests of applications, hour by hour."""

    hours: tuple[int, ...] = ()
    """Requests in each hour, the one that runs last."""
    requests: int = 0
    failed: int = 0
    lately: int = 0
    """Requests since the last hour began."""
    lately_failed: int = 0
    cost_microusd: int | None = None
    """None: no request had a price."""

    @property
    def alarming(self) -> bool:
        """So much failed that it is no chance."""
        return self.failed >= FEW and self.share_failed >= MANY_FAILED

    @property
    def share_failed(self) -> float:
        return self.failed / self.requests if self.requests else 0.0

    @property
    def words(self) -> str:
        """What the chart beside it shows."""
        if not any(self.hours):
            return ""
        return f"requests in each of the last {len(self.hours)} hours, {min(self.hours):,} to {max(self.hours):,}"


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that waits for a person."""

    kind: NeedKind
    standing: Standing
    override: Override | None = None

    @property
    def task(self) -> str:
        return self.standing.task


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of how well a task is answered, and how quickly."""

    p50: float | None = None
    """Milliseconds."""
    p95: float | None = None
    verdict: Verdict | None = None
    rated: int = 0
    liked: int = 0

    side: Literal["incumbent_score", "candidate_score"] | None = None
    """Whose score in that comparison is that of who answers now; None: it was about others."""

    @property
    def score(self) -> float | None:
        """Mean score of who answers now, when it was measured last, 0 to 1."""
        if self.side is None or self.verdict is None or self.verdict.summary is None:
            return None
        found = self.verdict.summary.get(self.side)
        return None if found is None else float(found)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One task of the table."""

    standing: Standing
    description: str
    traffic: Traffic
    needs: tuple[Need, ...] = ()
    running: bool = True
    """Whether the gateway is."""
    measured: Measured = field(default_factory=Measured)

    @property
    def task(self) -> str:
        return self.standing.task

    @property
    def engine(self) -> str:
        """State of the engine that answers."""
        row = self.standing.incumbent_row
        if row is None:
            return "gone"
        if not self.running:
            return "not running"
        return "stopped" if row.desired == "stopped" else row.state

    @property
    def health(self) -> Health:
        """How it goes, in a word: by its engine, and by what failed in the last hour and the last day."""
        day = self.traffic
        if self.standing.removed or not self.running:
            return ""
        if any(need.kind in ("nobody", "failed") for need in self.needs):
            return "bad"
        if day.lately_failed >= FEW and day.lately_failed >= MANY_FAILED * day.lately:
            return "bad"
        if self.engine not in ("ready", "idle") or (day.failed >= FEW and day.share_failed >= SOME_FAILED):
            return "warm"
        return "good"


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All tasks together."""

    tasks: int
    under_way: int
    needing: int
    """Tasks that wait for a person."""
    requests: int
    failed: int
    last_switch: ChangeoverTime | None
    last_task: str | None


ORDERS: Mapping[str, str] = {"needs": "", "task": "", "requests": "", "failed": "", "cost": ""}
"""What the table may be sorted by."""


def traffic_of(connection: Connection, now: datetime, task: str | None = None) -> dict[str, Traffic]:
    """The last day of every task that had one, or of one."""
    running = now.replace(minute=0, second=0, microsecond=0)
    first = running - timedelta(hours=HOURS - 1)
    found: dict[str, list[Hour]] = {}
    for hour in hours_of(connection, first, task):
        found.setdefault(hour.task, []).append(hour)
    return {name: _traffic(hours, first, running) for name, hours in found.items()}


def _traffic(hours: Sequence[Hour], first: datetime, running: datetime) -> Traffic:
    requests = [0] * HOURS
    for each in hours:
        requests[min(HOURS - 1, int((each.hour - first).total_seconds()) // 3600)] += each.requests
    lately = [each for each in hours if each.hour >= running - timedelta(hours=1)]
    total = sum(each.requests for each in hours)
    return Traffic(
        hours=tuple(requests),
        requests=total,
        failed=sum(each.failed for each in hours),
        lately=sum(each.requests for each in lately),
        lately_failed=sum(each.failed for each in lately),
        cost_microusd=None
        if total == sum(each.unpriced for each in hours)
        else sum(each.cost_microusd for each in hours),
    )


def needs_of(standing: Standing) -> tuple[Need, ...]:
    """What waits for a person, the worst first. Of a task that was removed nothing does."""
    if standing.removed:
        return ()
    overrides = iter(standing.overrides)
    return tuple(
        Need(kind=kind, standing=standing, override=next(overrides) if kind == "override" else None)
        for kind in standing.needs()
    )


def worst_first(needs: Iterable[Need]) -> list[Need]:
    return sorted(needs, key=lambda need: (NEEDS.index(need.kind), need.task))


def measured(connection: Connection, lines: Sequence[Line], now: datetime) -> list[Line]:
    """The same lines with what takes a look at many rows: three statements, however many lines."""
    tasks = [line.task for line in lines]
    times, verdicts = newest_durations(connection, tasks), newest_verdicts(connection, tasks)
    goods = goods_of(connection, tasks, now - RATED)
    return [
        replace(
            line,
            measured=_measured(line.standing, times.get(line.task, ()), verdicts.get(line.task), goods.get(line.task)),
        )
        for line in lines
    ]


def _measured(
    standing: Standing, times: Sequence[float], verdict: Verdict | None, goods: tuple[int, int] | None
) -> Measured:
    rated, liked = goods or (0, 0)
    return Measured(
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
        verdict=verdict,
        rated=rated,
        liked=liked,
        side=None if verdict is None else _side(verdict, standing.route.incumbent),
    )


def _side(verdict: Verdict, answers: str) -> Literal["incumbent_score", "candidate_score"] | None:
    if verdict.candidate == answers:
        return "candidate_score"
    return "incumbent_score" if verdict.incumbent == answers else None


def whole_of(connection: Connection, lines: Sequence[Line]) -> Whole:
    """What stands above the table."""
    promotion = newest_promotion(connection, (line.task for line in lines))
    rollout = None if promotion is None or promotion.rollout is None else find_rollout(connection, promotion.rollout)
    there = [line for line in lines if not line.standing.removed]
    return Whole(
        tasks=len(there),
        under_way=sum(line.standing.under_way is not None for line in there),
        needing=sum(bool(line.needs) for line in there),
        requests=sum(line.traffic.requests for line in lines),
        failed=sum(line.traffic.failed for line in lines),
        last_switch=None if rollout is None else changeover_time(connection, rollout),
        last_task=None if rollout is None else rollout.task,
    )


def chosen(lines: Sequence[Line], words: str, state: str) -> list[Line]:
    """Those whose names, models or description hold all the words, in a state."""
    asked = words.casefold().split()
    return [line for line in lines if _in_state(line, state) and all(word in _said(line) for word in asked)]


def _said(line: Line) -> str:
    standing = line.standing
    said = (line.task, line.description, standing.incumbent, standing.candidate, standing.rollout_candidate)
    return " ".join(each for each in said if each).casefold()


def _in_state(line: Line, state: str) -> bool:
    if state == "removed":
        return line.standing.removed
    if line.standing.removed:
        return False
    if state == "needs":
        return bool(line.needs)
    if state == "under-way":
        return line.standing.under_way is not None or line.standing.bakes_until is not None
    return line.health in ("bad", "warm") if state == "failing" else True


def ordered(lines: Sequence[Line], by: str) -> list[Line]:
    """In an order that the address names; by name where two are alike."""
    by_name = sorted(lines, key=lambda line: line.task)
    if by == "requests":
        return sorted(by_name, key=lambda line: -line.traffic.requests)
    if by == "failed":
        return sorted(by_name, key=lambda line: (-line.traffic.share_failed, -line.traffic.failed))
    if by == "cost":
        return sorted(by_name, key=lambda line: -(line.traffic.cost_microusd or 0))
    if by == "needs":
        return sorted(
            by_name, key=lambda line: min((NEEDS.index(need.kind) for need in line.needs), default=len(NEEDS))
        )
    return by_name

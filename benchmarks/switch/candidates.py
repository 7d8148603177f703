"""Bad candidates in a canary: how many requests and seconds from the first bad answer until the incumbent answers again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks.switch.load import Answer, Demand, lines_of, load
from benchmarks.switch.projects import Case, add_echo
from changeover.cli.running import wait_ready
from changeover.rollouts.queries import find_rollout, rollout_history
from changeover.serving.variants import Variant
from changeover.tasks.observed import Observed, newest_seq, observed_of

DELAY_S = 0.02
"""Before the incumbent answers; ten times as much where a candidate is slow."""
BAD: Mapping[str, Mapping[str, Any]] = {
    "errors-20": {"fault": "error_500", "fault_rate": 0.2},
    "errors-50": {"fault": "error_500", "fault_rate": 0.5},
    "errors-100": {"fault": "error_500"},
    "garbage": {"fault": "wrong_json"},
    "empty": {"reply": " "},
    "slow-10x": {"delay_s": 10 * DELAY_S},
}
WORDS: Mapping[str, str] = {
    "errors-20": "20 % errors",
    "errors-50": "50 % errors",
    "errors-100": "100 % errors",
    "garbage": "a page of HTML",
    "empty": "empty answers",
    "slow-10x": "10 × slower",
}
WHOLE_S, STREAM_S = 0.1, 0.1
WARM_S = 5.0
"""Load before the first canary: what is slow is told by the incumbent's latest answers."""
MOST_S = 60.0
POLL_S = 0.02
WRITTEN_S = 0.6
"""After the rollback all that was asked before it is recorded."""


@dataclass(frozen=True)
class Taken:
    """One canary, from its first bad answer to the rollback."""

    name: str
    bad: int
    """Bad answers of the candidate until the deciding one, that one included."""
    requests: int
    """Put to the candidate from the first bad answer to the deciding one, both included."""
    after: int
    """Put to the candidate and begun after the deciding one had ended."""
    seconds: float
    """From the end of the first bad answer to the rollback's revision."""
    decided_ms: float
    """From the end of the deciding answer to the rollback's revision."""
    reason: str


@dataclass(frozen=True)
class Canaries:
    """All of them, and what callers saw meanwhile."""

    taken: Sequence[Taken]
    late: Sequence[str]
    """Names of candidates that were not taken out within `MOST_S`."""
    answers: Sequence[Answer]
    per_second: float


def take_out(case: Case, names: Sequence[str], rounds: int) -> Canaries:
    """Let each bad candidate take part of the traffic, in turn."""
    candidates = {name: add_echo(case.installation, name, {"delay_s": DELAY_S, **BAD[name]}) for name in names}
    wait_ready(case.installation, names)
    demand = Demand(
        address=case.address,
        key=case.key,
        operator=case.operator,
        task=case.task,
        workers=case.workers,
        lines=lines_of(case.workers, whole_s=WHOLE_S, stream_s=STREAM_S),
        most_s=WARM_S + rounds * len(names) * (MOST_S + 2),
        repeats=False,
    )
    taken: list[Taken] = []
    late: list[str] = []
    with load(demand) as answers:
        time.sleep(WARM_S)
        for name in [*names] * rounds:
            found = _one(case, name, candidates[name])
            if found is None:
                late.append(name)
            else:
                taken.append(found)
    return Canaries(taken, late, answers, demand.per_second)


def _one(case: Case, name: str, candidate: Variant) -> Taken | None:
    store = case.installation.store
    id = case.start(candidate)
    deadline = time.monotonic() + MOST_S
    while True:
        with store.read() as connection:
            rollout = find_rollout(connection, id)
        assert rollout is not None
        seen_at = case.installation.clock.now()
        if rollout.state == "rolled_back":
            break
        if time.monotonic() > deadline:
            case.roll_back()
            return None
        time.sleep(POLL_S)
    time.sleep(WRITTEN_S)
    with store.read() as connection:
        exchanges = observed_of(connection, case.task, rollout.created_at, newest_seq(connection))
        event = rollout_history(connection, id)[-1]
    counted = next(guard["events"] for guard in event.evidence["guards"] if guard["name"] == "errors")
    return taken_out(name, candidate.id, exchanges, counted, seen_at, event.reason)


def taken_out(
    name: str, candidate: str, exchanges: Sequence[Observed], counted: int, at: datetime, reason: str
) -> Taken:
    """What the records say of one canary.

    Args:
        name: Of the candidate.
        candidate: Its variant's id.
        exchanges: Of the task since the canary began, in order of arrival.
        counted: Requests to the candidate that the guards had seen when they raised the alarm.
        at: When the rollback's revision was there to be read.
        reason: As the history says it.
    """
    put = [each for each in exchanges if candidate in (each.variant, *each.failed_variants) and not each.abandoned]
    slow = name.startswith("slow")
    bad = [slow or candidate in each.failed_variants or each.violation is not None for each in put]
    first, deciding = bad.index(True), counted - 1
    return Taken(
        name=name,
        bad=sum(bad[:counted]),
        requests=deciding - first + 1,
        after=sum(each.started_at > _ended(put[deciding]) for each in put),
        seconds=(at - _ended(put[first])).total_seconds(),
        decided_ms=1000 * (at - _ended(put[deciding])).total_seconds(),
        reason=reason,
    )


def _ended(exchange: Observed) -> datetime:
    return exchange.started_at + timedelta(milliseconds=exchange.duration_ms)

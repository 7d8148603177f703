"""Switches to and fro under load: what failed, how long answers took near a switch and far from one, who answered when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

import numpy as np
from scipy.stats import binom

from benchmarks.switch.load import Answer, Demand, Line, load
from benchmarks.switch.projects import Case, sleep_until

STRETCH = 10
"""Switches whose windows are compared together."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One cycle, around the beginning of a switch. What lies in neither window belongs to neither."""

    settle_s: float = 2.0
    """Load before the first switch: connections are made, caches filled."""
    cycle_s: float
    before_s: float
    """The window of a switch begins so long before it: streams that are cut by it count."""
    after_s: float
    steady_s: float
    """The steady window begins so long after the switch and is as long as the other one."""

    @property
    def window_s(self) -> float:
        return self.before_s + self.after_s


ECHO = Timing(cycle_s=0.9, before_s=0.1, after_s=0.3, steady_s=0.38)
REAL = Timing(cycle_s=4.0, before_s=0.4, after_s=1.4, steady_s=1.7)


@dataclass(frozen=True)
class Deed:
    """One promotion or rollback, seconds on the monotonic clock."""

    kind: Literal["promote", "rollback"]
    began: float
    committed: float
    revision: int


@dataclass(frozen=True)
class Run:
    """Everything that was seen."""

    demand: Demand
    timing: Timing
    deeds: Sequence[Deed]
    answers: Sequence[Answer]
    seconds: float


def switch_under_load(case: Case, lines: tuple[Line, ...], timing: Timing, switches: int) -> Run:
    """Promote and roll back in turn, at a steady pace, and end with who answered at first."""
    switches += switches % 2
    seconds = timing.settle_s + (switches + 1) * timing.cycle_s
    demand = Demand(
        address=case.address,
        key=case.key,
        operator=case.operator,
        task=case.task,
        workers=case.workers,
        lines=lines,
        most_s=2 * seconds + 30,
        tokens=case.tokens,
        repeats=case.tokens is None,
    )
    deeds: list[Deed] = []
    with load(demand) as answers:
        began = time.monotonic()
        for number in range(switches):
            sleep_until(began + timing.settle_s + number * timing.cycle_s)
            deeds.append(_do("promote", case.promote) if number % 2 == 0 else _do("rollback", case.roll_back))
        sleep_until(began + seconds)
    return Run(demand, timing, deeds, answers, seconds)


def _do(kind: Literal["promote", "rollback"], deed: Callable[[], int]) -> Deed:
    began = time.monotonic()
    revision = deed()
    return Deed(kind, began, time.monotonic(), revision)


@dataclass(frozen=True)
class Windows:
    """Milliseconds of answers of one kind, window by window: near the switch and far from it."""

    steady: Sequence[Sequence[float]]
    switching: Sequence[Sequence[float]]

    def ratio(self, share: float) -> Ratio | None:
        """A quantile near switches over the same far from them."""
        return ratio(self.steady, self.switching, share)

    def noise(self, share: float) -> Ratio | None:
        """The same of windows far from any switch, each second one over the one before: what no switch does."""
        return ratio(self.steady[::2], self.steady[1::2], share, STRETCH // 2)


@dataclass(frozen=True)
class Ratio:
    """One quantile over another: the median over stretches of the run, each compared within itself."""

    below_ms: float
    above_ms: float
    """Both over the whole run."""
    ratio: float
    interval: tuple[float, float] | None
    """Of that median, by order statistics, 95 % or more; None where there are too few stretches."""
    fewest: int
    """Answers on either side of any stretch."""


def windows(run: Run, keep: Callable[[Answer], bool], until: Callable[[Answer], float]) -> Windows:
    """Sort answers by when they were due.

    Args:
        run: With everything.
        keep: Which answers.
        until: The moment that is waited for, such as the end of the answer.
    """
    timing = run.timing
    right = sorted((answer for answer in run.answers if not answer.problem and keep(answer)), key=lambda each: each.due)
    dues = np.array([answer.due for answer in right])

    def between(start: float) -> list[float]:
        first, last = np.searchsorted(dues, [start, start + timing.window_s])
        return [1000 * (until(answer) - answer.due) for answer in right[first:last]]

    return Windows(
        steady=[between(deed.began + timing.steady_s) for deed in run.deeds],
        switching=[between(deed.began - timing.before_s) for deed in run.deeds],
    )


def ratio(
    below: Sequence[Sequence[float]], above: Sequence[Sequence[float]], share: float, stretch: int = STRETCH
) -> Ratio | None:
    """Compare a quantile stretch by stretch: noise of a busy machine comes in bursts, and a burst spoils one of them.

    Args:
        below: Windows in order.
        above: Those beside them.
        share: Which quantile.
        stretch: Windows that are compared together.

    Returns:
        None where no stretch has answers on both sides.
    """
    pairs = [
        [np.concatenate([np.empty(0), *side[start : start + stretch]]) for side in (below, above)]
        for start in range(0, len(above), stretch)
    ]
    pairs = [pair for pair in pairs if all(side.size for side in pair)]
    if not pairs:
        return None
    found = sorted(float(np.quantile(a, share) / np.quantile(b, share)) for b, a in pairs)
    rank = int(binom.ppf(0.025, len(found), 0.5))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - scipy has no types for it
    one, other = (float(np.quantile(np.concatenate(side), share)) for side in zip(*pairs, strict=True))
    return Ratio(
        below_ms=one,
        above_ms=other,
        ratio=median(found),
        interval=(found[rank - 1], found[-rank]) if rank else None,
        fewest=min(side.size for pair in pairs for side in pair),
    )


@dataclass(frozen=True)
class Followed:
    """How one revision reached the callers, milliseconds after its commit."""

    kind: Literal["promote", "rollback"]
    first_ms: float
    """Until somebody has the first bytes of an answer by the new route."""
    last_old_ms: float
    """The last request that was sent and still answered by an older one; 0: none."""
    all_ms: float | None
    """By then every worker answered by the new one: the latest, over the callers that stay on a worker's connection, of
    their first such request. None where nobody stays on one."""


def followed(run: Run) -> list[Followed]:
    """Of every switch. What had not happened when the next one began is counted as if it had happened then."""
    ordered = sorted((answer for answer in run.answers if answer.revision), key=lambda each: each.sent)
    sents = [answer.sent for answer in ordered]
    pinned = [number for number, line in enumerate(run.demand.lines) if line.worker is not None]
    found: list[Followed] = []
    ends = [later.began for _, later in pairwise(run.deeds)] + sents[-1:]
    for deed, end in zip(run.deeds, ends, strict=True):
        first, last = np.searchsorted(sents, [deed.committed, end])
        after = ordered[first:last]
        new = [answer for answer in after if answer.revision >= deed.revision]
        firsts: dict[int, float] = {}
        for answer in new:
            firsts.setdefault(answer.line, answer.sent)
        old = [answer.sent for answer in after if answer.revision < deed.revision]
        found.append(
            Followed(
                deed.kind,
                1000 * (min((answer.first for answer in new), default=end) - deed.committed),
                1000 * (max(old) - deed.committed) if old else 0.0,
                1000 * (max(firsts.get(number, end) for number in pinned) - deed.committed) if pinned else None,
            )
        )
    return found

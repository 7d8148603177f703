"""Replaying a comparison on scores that are known: forced differences, random orders, and what each test spent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from changeover.evals.covariates import About, Pool, sequential_test
from changeover.evals.sequential import PairedTest, SequentialTest, TestPlan, Verdict, fixed_n

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A candidate's and an incumbent's scores, and what was cached of other models (models, items)."""

    candidate: Floats
    incumbent: Floats
    others: Floats

    @property
    def delta(self) -> float:
        return float((self.candidate - self.incumbent).mean())

    @property
    def n_fix(self) -> float:
        """Of a test of fixed size with this spread, when cases never run out."""
        return float(fixed_n(float(np.var(self.candidate - self.incumbent)), PLAN.margin, PLAN.alpha, PLAN.beta))

    @property
    def n_fix_of_pool(self) -> float:
        """The same for a statement about these items alone, which a fixed number also gets cheaper."""
        return self.n_fix / (1.0 + (self.n_fix - 1.0) / len(self.candidate))


PLAN = TestPlan(margin=0.02)


@dataclass(frozen=True)
class Replayed:
    """One run of one test."""

    delta: float
    samples: int
    over_fixed_n: float
    over_fixed_n_of_pool: float
    verdict: Verdict


@dataclass(frozen=True)
class Summary:
    """Runs of one test on one kind of pair."""

    data: str
    test: str
    pairs: str
    """`as they are` (within 5 points), `equal` (forced to no difference), `null` (forced to lose the margin)."""
    runs: int
    mean_calls_over_fixed_n: float
    mean_calls_over_fixed_n_of_pool: float
    go: float
    no_go: float
    undecided: float
    false_go: float | None
    """Share of passes where the candidate lost the margin or more; None where no pair did."""
    power: float | None
    """Share of passes where it lost nothing; None where no pair did."""


def forced(pair: Pair, delta: float, random: np.random.Generator) -> Pair:
    """The pair with the candidate's surplus over a difference taken away, or what it lacks given, on random items."""
    candidate = pair.candidate.copy()
    lacking = (delta - pair.delta) * len(candidate)
    goal = 1.0 if lacking > 0.0 else 0.0
    for item in random.permutation(len(candidate)):
        if lacking == 0.0:
            break
        room = goal - candidate[item]
        change = min(room, lacking) if goal else max(room, lacking)
        candidate[item] += change
        lacking -= change
    return Pair(candidate, pair.incumbent, pair.others)


def replay(pair: Pair, about: About | None, random: np.random.Generator, most: int | None = None) -> Replayed:
    """Run one test over the items in a new random order.

    Args:
        pair: The scores.
        about: None: the plain test on items drawn with replacement, for which the pool stands for the population.
        random: Draws the order.
        most: Samples of the plan at most.
    """
    count = len(pair.candidate)
    plan = TestPlan(margin=PLAN.margin, max_samples=most)
    order = random.permutation(count) if about else random.integers(0, count, most or 40 * int(pair.n_fix))
    test: SequentialTest
    if about:
        pool = Pool(
            models=tuple(f"model-{number}" for number in range(len(pair.others))),
            incumbent=tuple(pair.incumbent[order].tolist()),
            features=tuple(map(tuple, pair.others[:, order].T.tolist())),
        )
        test = sequential_test(plan, pool, about)
    else:
        test = PairedTest(plan)
    for difference in (pair.candidate - pair.incumbent)[order].tolist():
        if test.update(difference).finished:
            break
    seen = test.evidence
    return Replayed(
        delta=pair.delta,
        samples=seen.samples,
        over_fixed_n=seen.samples / pair.n_fix,
        over_fixed_n_of_pool=seen.samples / pair.n_fix_of_pool,
        verdict=seen.verdict,
    )


def summarise(data: str, test: str, pairs: str, runs: Iterable[Replayed]) -> Summary:
    """Put runs together."""
    done = list(runs)
    near = 1e-9
    lost = [run.verdict == "pass" for run in done if run.delta <= -PLAN.margin + near]
    level = [run.verdict == "pass" for run in done if run.delta >= -near]
    return Summary(
        data=data,
        test=test,
        pairs=pairs,
        runs=len(done),
        mean_calls_over_fixed_n=fmean(run.over_fixed_n for run in done),
        mean_calls_over_fixed_n_of_pool=fmean(run.over_fixed_n_of_pool for run in done),
        go=fmean(run.verdict == "pass" for run in done),
        no_go=fmean(run.verdict == "fail" for run in done),
        undecided=fmean(run.verdict == "inconclusive" for run in done),
        false_go=fmean(lost) if lost else None,
        power=fmean(level) if level else None,
    )

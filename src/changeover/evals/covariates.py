"""A sequential test that spends fewer samples where scores on the same samples are known beforehand.

What earlier models scored says much about what the candidate will score. The test bets on the paired difference minus
a prediction of it, and puts the prediction's mean back in, so that the mean stays exactly what it was, whatever the
prediction, and only the noise falls. The comparison makes a `Pool` before its first sample and stores it; a replay
reads it back.

Two forms, by what the error rates shall be about:

`dataset`: these N observations alone, drawn without replacement in random order. Under a null the mean of what is left
to draw is known from what was drawn, and the prediction's mean over what is left is known anyway. Exact for the pool,
and certain once all of it was drawn.

`population`: everything that the observations are a random sample of. Each drawn observation comes with k partners,
observations that the candidate will never be asked: what is bet on is D - g(x) + mean of g over the partners. Groups
are independent of each other, so its mean is the population's, exactly.

An observation is a sample, or a whole cluster with the mean of its scores; the mean that is tested is then the mean
over clusters, each counting alike.

Source: sampling without replacement, Waudby-Smith & Ramdas 2024, doi:10.1093/jrsssb/qkad009, section 5; control
variates, Owen 2013, "Monte Carlo theory, methods and examples", chapter 8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from changeover.evals.sequential import (
    BET_CAP,
    GAPS,
    LOG_MAX,
    PROCESSES,
    Evidence,
    Ledger,
    PairedTest,
    SequentialTest,
    TestPlan,
    at_least,
    mixed,
)

Floats = NDArray[np.float64]
About = Literal["population", "dataset"]

MOST_MODELS = 8
"""Covariate models that are used at most. On simulated scores of 53 models four to eight did best: with more the slopes
cost more samples to learn than they save."""
PRIOR_CORRELATION = 0.5
"""Of two models' scores, where no pool may be looked at to know better."""
PRIOR_VARIANCE = 0.10
"""Of a payoff, where no pool may be looked at to know better."""
PRIOR_SAMPLES = 30.0
"""How many samples the variance before any sample counts for."""
PRIOR_SHRINKAGE = 3.0
"""Ridge of the prior slopes, in variances that a model does not share with the others."""
STIFFNESS = 100.0
"""How many samples the prior slopes count for, each model's variance being one."""
REFITS = 16
"""The prediction is fitted again whenever the samples have grown by one in so many."""

_SURE = 1e-9
"""Beyond rounding: by how much a total must exceed what a null allows to rule it out for good."""
_LEAST_LOSS = 1e-6
"""Bets are bounded as if a sample could cost at least this."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is known of every observation before the first is drawn, in the order in which they will be drawn."""

    models: tuple[str, ...]
    """Covariate models: deployments or bundles whose scores are the features."""
    incumbent: tuple[float, ...]
    """The incumbent's score on each observation, 0 to 1."""
    features: tuple[tuple[float, ...], ...]
    """The covariate models' scores on each observation, 0 to 1."""

    def __post_init__(self) -> None:
        if not self.incumbent:
            raise ValueError("The pool has no observation.")
        if len(self.features) != len(self.incumbent) or any(len(row) != len(self.models) for row in self.features):
            raise ValueError("The pool must have one score of each covariate model on each observation.")
        if not all(0.0 <= score <= 1.0 for row in (self.incumbent, *self.features) for score in row):
            raise ValueError("The pool has a score outside 0 to 1.")

    def __len__(self) -> int:
        return len(self.incumbent)

    def document(self) -> dict[str, Any]:
        """The pool as JSON values; numbers survive exactly."""
        return {
            "models": list(self.models),
            "incumbent": list(self.incumbent),
            "features": [list(row) for row in self.features],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Pool:
        """Read back what `document` gave.

        Raises:
            KeyError: A part is missing.
            ValueError: The parts do not fit together.
        """
        return cls(
            models=tuple(document["models"]),
            incumbent=tuple(float(score) for score in document["incumbent"]),
            features=tuple(tuple(float(score) for score in row) for row in document["features"]),
        )


def pool_of(
    incumbent: Sequence[float | None],
    models: Mapping[str, Sequence[float | None]],
    about: About,
    most: int = MOST_MODELS,
) -> Pool | None:
    """Choose the covariate models whose scores are complete.

    For a dataset, models whose scores are all the same, or the same as another's, are left out too. For a population
    the choice must not depend on any score, or the pool's accidents would find their way into the bets.

    Args:
        incumbent: Scores in drawn order, None where there is none.
        models: The same for other models, the most welcome first.
        about: What the error rates shall be about.
        most: Models that are taken at most, the first ones.

    Returns:
        None where the incumbent lacks a score: without the whole pool's there is nothing to put back in.
    """
    known = _complete(incumbent)
    if not known:
        return None
    chosen: dict[str, tuple[float, ...]] = {}
    for name, scores in models.items():
        column = _complete(scores)
        if column is None or len(column) != len(known) or len(chosen) >= most:
            continue
        if about == "dataset" and (column == known or len(set(column)) == 1 or column in chosen.values()):
            continue
        chosen[name] = column
    rows = tuple(zip(*chosen.values(), strict=True)) if chosen else ((),) * len(known)
    return Pool(models=tuple(chosen), incumbent=known, features=rows)


def _complete(scores: Sequence[float | None]) -> tuple[float, ...] | None:
    known = tuple(score for score in scores if score is not None)
    return known if len(known) == len(scores) else None


def sequential_test(plan: TestPlan, pool: Pool | None, about: About) -> SequentialTest:
    """The test that a comparison should use, given what is known.

    Without a pool, or where a population leaves no observation over to be a partner, that is `PairedTest`.
    """
    if pool is None or (about == "population" and partners(plan, pool) < 1):
        return PairedTest(plan)
    return CovariateTest(plan, pool, about)


def partners(plan: TestPlan, pool: Pool) -> int:
    """Partners that each drawn observation has in a population's test."""
    return len(pool) // min(plan.max_samples or len(pool), len(pool)) - 1


class CovariateTest:
    """Test a candidate against an incumbent whose scores on the pool are known, one observation at a time.

    The error rates are those of `PairedTest`, about the pool's mean or the population's. Observations must be added in
    the pool's order, and every one of them: one that could not be scored is counted as the candidate's worst score in
    each bet, which keeps the promise whatever its score would have been. It does not count towards `min_samples`.
    """

    def __init__(self, plan: TestPlan, pool: Pool, about: About) -> None:
        self.plan = plan
        self.pool = pool
        self.about: About = about
        self._nulls = ((1.0, -plan.margin), (-1.0, 0.0), (1.0, 0.0), (-1.0, -plan.margin))
        """Of each process: which way it bets, and its null's mean."""
        self._reference: _Reference = _Remaining(pool) if about == "dataset" else _Partners(pool, partners(plan, pool))
        most = min(self._reference.size, plan.max_samples or self._reference.size)
        self._ledger = Ledger(replace(plan, max_samples=most))
        self._log_capital = [[0.0] * len(GAPS) for _ in PROCESSES]
        self._drawn = 0
        self._seen = 0
        self._sum = 0.0
        self._least = 0.0
        """Sum of the differences, with 0 for what could not be scored."""
        self._most = 0.0
        """The same, with 1."""
        self._mean_payoff = 0.0
        self._squares = PRIOR_SAMPLES * self._reference.prior_variance
        """Of what was bet on, about its mean; with the prior's."""
        self.evidence = self._ledger.weigh(0, 0.0, [1.0] * len(PROCESSES), scored=0)

    def update(self, difference: float | None) -> Evidence:
        """Add the next observation of the pool: candidate minus incumbent; None where it could not be scored.

        Raises:
            ValueError: The candidate's score would lie outside [0, 1], or the pool is used up. Nothing was added.
        """
        if self._drawn >= self._reference.size:
            raise ValueError(f"All `{self._reference.size}` observations that the pool allows were drawn.")
        incumbent = self.pool.incumbent[self._drawn]
        least, most = -incumbent, 1.0 - incumbent
        if difference is not None:
            if not least - _SURE <= difference <= most + _SURE:
                raise ValueError(f"Difference `{difference}` does not fit the incumbent's score `{incumbent}` there.")
            least = most = min(max(difference, least), most)
        correction = self._reference.correction(self._drawn)
        for logs, bets, (side, _, bound) in zip(self._log_capital, self.bets(), self._bounds(), strict=True):
            payoff = side * ((least if side > 0 else most) - correction - bound)
            for number, bet in enumerate(bets):
                logs[number] += math.log1p(bet * payoff)
        self._drawn += 1
        self._least += least
        self._most += most
        if difference is not None:
            self._learn(difference, difference - correction)
        self._rule_out()
        mean = self._sum / self._seen if self._seen else 0.0
        now = [mixed(logs) for logs in self._log_capital]
        self.evidence = self._ledger.weigh(self._drawn, mean, now, scored=self._seen)
        return self.evidence

    def bets(self) -> list[list[float]]:
        """The three bets of each process that the next observation will meet, in the order of `PROCESSES`.

        They do not depend on which observation it is: that would spoil the mean.
        """
        variance = self._squares / (PRIOR_SAMPLES + self._seen)
        least, most = self._reference.limits(self._drawn)
        stretch = self._reference.stretch(self._drawn)
        bets: list[list[float]] = []
        for side, _, bound in self._bounds():
            loss = bound - least if side > 0 else most - bound
            cap = BET_CAP / max(loss, _LEAST_LOSS)
            gaps = (min(self.plan.margin * gap * stretch, math.sqrt(variance)) for gap in GAPS)
            bets.append([min(gap / (variance + gap * gap), cap) for gap in gaps])
        return bets

    def samples_left(self) -> int | None:
        """Estimate how many more observations a verdict takes if they go on as they did.

        Returns:
            0 once there is a verdict; None before the first one and where the evidence does not grow.
        """
        seen = self.evidence
        if seen.verdict != "inconclusive":
            return 0
        left = self._reference.size - self._drawn
        if not self._seen or not left:
            return None
        variance = self._squares / (PRIOR_SAMPLES + self._seen)
        goals = ((seen.no_worse, self.plan.alpha), (seen.futility, self.plan.beta))
        waits: list[int] = []
        for (value, rate), bets, (side, _, bound) in zip(goals, self.bets(), self._bounds(), strict=False):
            gain = side * (self._mean_payoff - bound)
            speed = max(bet * gain - bet * bet * (variance + gain * gain) / 2.0 for bet in bets)
            if speed > 0.0:
                waits.append(max(1, math.ceil((-math.log(rate) - math.log(max(value, 1e-300))) / speed)))
        return at_least(self.plan.min_samples - self._seen, min(*waits, left)) if waits else None

    def _bounds(self) -> list[tuple[float, float, float]]:
        """Of each process: which way it bets, its null's mean, and that null's mean of the next payoff."""
        found: list[tuple[float, float, float]] = []
        for side, null in self._nulls:
            total = self._least if side > 0 else self._most
            found.append((side, null, self._reference.bound(self._drawn, null, total)))
        return found

    def _learn(self, difference: float, payoff: float) -> None:
        self._seen += 1
        self._sum += difference
        before = self._mean_payoff
        self._mean_payoff += (payoff - before) / self._seen
        self._squares += (payoff - before) * (payoff - self._mean_payoff)
        self._reference.learn(self._drawn, difference)

    def _rule_out(self) -> None:
        """Give all the capital there can be to a process whose null what is left to draw can no longer make true."""
        least, most = self._reference.totals(self._drawn)
        for number, (side, null) in enumerate(self._nulls):
            needed = self._reference.size * null
            if (self._least + least > needed + _SURE) if side > 0 else (self._most + most < needed - _SURE):
                self._log_capital[number] = [LOG_MAX] * len(GAPS)


class _Reference(Protocol):
    """What puts the prediction's mean back in. All but `learn` may depend on earlier observations only."""

    size: int
    """Observations that can be drawn."""
    prior_variance: float
    """Of a payoff, before any was seen."""

    def correction(self, drawn: int) -> float:
        """What is taken off the next difference: its prediction minus the mean prediction over the reference."""
        ...

    def limits(self, drawn: int) -> tuple[float, float]:
        """Least and most that the next difference can be once it is corrected, whichever observation comes."""
        ...

    def bound(self, drawn: int, null: float, total: float) -> float:
        """Mean of the next corrected difference at the edge of a null, when those drawn add up to `total`."""
        ...

    def stretch(self, drawn: int) -> float:
        """How much further than over the whole pool the next one's mean lies from that edge."""
        ...

    def totals(self, drawn: int) -> tuple[float, float]:
        """Least and most that the differences still to draw can add up to."""
        ...

    def learn(self, drawn: int, difference: float) -> None:
        """Use the last drawn observation for later predictions; `drawn` counts it."""
        ...


class _Remaining:
    """The pool itself: what of it is not drawn yet."""

    def __init__(self, pool: Pool) -> None:
        scores: Floats = np.column_stack([pool.incumbent, np.array(pool.features).reshape(len(pool), -1)])
        self.size = len(pool)
        self._incumbent: Floats = scores[:, 0]
        self._scores: Floats = scores - scores.mean(axis=0)
        # In the dataset's form the pool may be looked at beforehand: how alike models are tells how alike this one is.
        covariance: Floats = np.atleast_2d(np.cov(self._scores, rowvar=False, bias=True))
        models = len(covariance)
        variance = max(float(np.trace(covariance)) / models, 1e-4)
        alike = (float(covariance.sum()) - float(np.trace(covariance))) / max(models * (models - 1), 1)
        shared = min(max(alike, 0.0), 0.95 * variance) if models > 1 else PRIOR_CORRELATION * variance
        slopes = _solve(covariance + (variance - shared) * PRIOR_SHRINKAGE * np.eye(models), np.full(models, shared))
        self.prior_variance = max(variance - shared * float(slopes.sum()), 0.05 * variance)
        slopes[0] -= 1.0
        self._ridge = _Ridge(slopes, STIFFNESS * (variance - shared))
        self._least_left: list[float] = _suffix_sums(-self._incumbent)
        self._most_left: list[float] = _suffix_sums(1.0 - self._incumbent)
        self._next_fit = 0
        self._fit(0)

    def correction(self, drawn: int) -> float:
        at = drawn - self._fitted_at
        return self._predicted[at] - self._mean_left[at]

    def limits(self, drawn: int) -> tuple[float, float]:
        at = drawn - self._fitted_at
        mean = self._mean_left[at]
        return mean - self._highest_left[at], 1.0 + mean - self._lowest_left[at]

    def bound(self, drawn: int, null: float, total: float) -> float:
        return (self.size * null - total) / (self.size - drawn)

    def stretch(self, drawn: int) -> float:
        return self.size / (self.size - drawn)

    def totals(self, drawn: int) -> tuple[float, float]:
        return self._least_left[drawn], self._most_left[drawn]

    def learn(self, drawn: int, difference: float) -> None:
        self._ridge.add(self._scores[drawn - 1], difference)
        if self._next_fit <= drawn < self.size:
            self._fit(drawn)

    def _fit(self, drawn: int) -> None:
        self._fitted_at, self._next_fit = drawn, drawn + max(1, drawn // REFITS)
        predicted: Floats = self._scores[drawn:] @ self._ridge.slopes()
        candidate = self._incumbent[drawn:] + predicted
        backwards = candidate[::-1]
        left = np.arange(len(predicted), 0, -1)
        self._predicted: list[float] = predicted.tolist()
        self._mean_left: list[float] = (np.cumsum(predicted[::-1])[::-1] / left).tolist()
        self._highest_left: list[float] = np.maximum.accumulate(backwards)[::-1].tolist()
        self._lowest_left: list[float] = np.minimum.accumulate(backwards)[::-1].tolist()


class _Partners:
    """Observations that the candidate is never asked, `count` for each that it is."""

    def __init__(self, pool: Pool, count: int) -> None:
        if count < 1:
            raise ValueError("Every observation may be drawn, so that none is left to be a partner.")
        self.size = len(pool) // (count + 1)
        self.prior_variance = PRIOR_VARIANCE
        scores: Floats = np.column_stack([pool.incumbent, np.array(pool.features).reshape(len(pool), -1)])
        drawn, rest = scores[: self.size], scores[self.size : self.size * (count + 1)]
        self._scores: Floats = drawn - 0.5
        self._apart: Floats = drawn - rest.reshape(self.size, count, -1).mean(axis=1)
        self._kept = count / (count + 1)
        """Share of the prediction that is used: the partners' mean brings noise of its own."""
        models = scores.shape[1]
        slopes: Floats = np.ones(models) * (PRIOR_CORRELATION / (1.0 + PRIOR_CORRELATION * (models - 1)))
        slopes[0] -= 1.0
        self._ridge = _Ridge(slopes, STIFFNESS * PRIOR_VARIANCE)
        self._next_fit = 0
        self._fit(0)

    def correction(self, drawn: int) -> float:
        return self._corrections[drawn - self._fitted_at]

    def limits(self, drawn: int) -> tuple[float, float]:
        return self._limits

    def bound(self, drawn: int, null: float, total: float) -> float:
        return null

    def stretch(self, drawn: int) -> float:
        return 1.0

    def totals(self, drawn: int) -> tuple[float, float]:
        return -math.inf, math.inf

    def learn(self, drawn: int, difference: float) -> None:
        self._ridge.add(self._scores[drawn - 1], difference)
        if self._next_fit <= drawn < self.size:
            self._fit(drawn)

    def _fit(self, drawn: int) -> None:
        self._fitted_at, self._next_fit = drawn, drawn + max(1, drawn // REFITS)
        slopes = self._kept * self._ridge.slopes()
        self._corrections: list[float] = (self._apart[drawn:] @ slopes).tolist()
        # D - g(x) + mean g = C - (A + g(x)) + mean g, with every score anywhere in 0 to 1.
        of_candidate = slopes.copy()
        of_candidate[0] += 1.0
        least = -np.maximum(of_candidate, 0.0).sum() + np.minimum(slopes, 0.0).sum()
        most = 1.0 - np.minimum(of_candidate, 0.0).sum() + np.maximum(slopes, 0.0).sum()
        self._limits = float(least), float(most)


class _Ridge:
    """Slopes that predict the difference from scores: fitted on what was drawn, pulled towards a prior.

    The prior takes the candidate for one more model of the same kind, which correlates with each as they do.
    """

    def __init__(self, prior: Floats, stiffness: float) -> None:
        models = len(prior)
        self._products: Floats = np.zeros((models + 1, models + 1))
        self._products[0, 0] = 1.0
        self._products[1:, 1:] = stiffness * np.eye(models)
        self._targets: Floats = np.concatenate([[0.0], stiffness * prior])

    def add(self, scores: Floats, difference: float) -> None:
        row: Floats = np.concatenate([[1.0], scores])
        self._products += np.outer(row, row)
        self._targets += difference * row

    def slopes(self) -> Floats:
        return _solve(self._products, self._targets)[1:]


def _solve(matrix: Floats, right: Floats) -> Floats:
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


def _suffix_sums(values: Floats) -> list[float]:
    """Sum of each value and all after it, and 0 at the end."""
    return [*np.cumsum(values[::-1])[::-1].tolist(), 0.0]

"""Sequential tests of a candidate against an incumbent: looked at after every sample, and still right.

Each test is an e-process, the capital of a gambler who bets against a null hypothesis and cannot expect to win while
it is true. By Ville's inequality the capital ever reaches 1/a with probability at most a under the null, whenever one
looks or stops. The comparison feeds paired differences to `PairedTest`, or to `CovariateTest` (`evals/covariates.py`)
where scores are known beforehand; what a canary feeds to its guards stands in `evals/canary.py`.

Samples must come in random order and be counted in that order, not in order of completion. Plain arithmetic without
numpy: a test costs some microseconds a sample, and whoever needs only the types starts fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Protocol

Verdict = Literal["pass", "fail", "inconclusive"]
Shown = Literal["better", "no worse", "worse", "not as good"]
Process = Literal["no_worse", "futility", "better", "worse"]

PROCESSES: tuple[Process, ...] = ("no_worse", "futility", "better", "worse")

GAPS = (1.0, 2.0, 4.0)
"""Design alternatives: how far the true mean lies from the null, in margins."""
WEIGHTS = (0.60, 0.25, 0.15)
"""Starting capital of the bet on each alternative."""
BET_CAP = 0.75
"""Largest share of the capital that one sample may cost."""
PRIOR_SAMPLES = 30.0
PRIOR_DISCORDANCE = 0.13
"""Discordance before any sample, and how many samples it counts for. Tuned by `benchmarks.evidence`; it changes how
many samples are needed, never the guarantee."""

LOG_MAX = 700.0
"""Largest logarithm whose exponential is still a float."""


@dataclass(frozen=True, kw_only=True)
class TestPlan:
    """What a comparison must show, fixed before its first sample."""

    __test__ = False  # pytest: not a test case

    margin: float
    """The loss that would be accepted, as a share of the score range, above 0 and below 1."""
    alpha: float = 0.05
    """Chance of a pass when the candidate loses by the margin or more."""
    beta: float = 0.10
    """Chance of a fail when the candidate loses nothing."""
    max_samples: int | None = None
    """Where the comparison gives up undecided. None: never."""
    min_samples: int = 1
    """No verdict before so many that could be scored, however clear it is."""

    def __post_init__(self) -> None:
        for name, value in (("margin", self.margin), ("alpha", self.alpha), ("beta", self.beta)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"`{name}` is `{value}`; it must lie above 0 and below 1.")
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"`max_samples` is `{self.max_samples}`; it must be at least 1, or None for no limit.")
        if self.min_samples < 1:
            raise ValueError(f"`min_samples` is `{self.min_samples}`; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class EValues:
    """The capital of each process. 20 means: were its null true, a capital this large has chance at most 1 in 20."""

    no_worse: float
    """Against: the candidate loses by the margin or more."""
    futility: float
    """Against: the candidate loses nothing."""
    better: float
    """Against: the candidate gains nothing."""
    worse: float
    """Against: the candidate loses by the margin or less."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known after a sample.

    The four e-values are running products. `peak` holds their running maxima: the chance that one ever reaches 1/a is
    at most a too, so they may be compared with a bound. They are no e-values (their mean under the null is not held at
    1) and must not be multiplied, averaged or given to `e_bh`.
    """

    samples: int
    mean: float
    """Mean difference so far, candidate minus incumbent, -1 to 1."""
    no_worse: float
    futility: float
    better: float
    worse: float
    peak: EValues
    verdict: Verdict
    """Set by the first process that reaches its bound, and kept: later samples do not change it. Where the plan wants
    more samples than that took, it is set by the peaks, once there are so many."""
    shown: Shown | None
    """The strongest claim that the evidence carries; None while there is none."""
    finished: bool
    """Whether to stop: a verdict, or no samples left in the plan."""


class SequentialTest(Protocol):
    """What a comparison asks of its test."""

    @property
    def plan(self) -> TestPlan: ...

    @property
    def evidence(self) -> Evidence:
        """What is known now."""
        ...

    def update(self, difference: float | None) -> Evidence:
        """Add the next observation in drawn order: candidate minus incumbent, or None where it could not be scored.

        Raises:
            ValueError: The difference cannot be one of two scores in [0, 1]. Nothing was added.
        """
        ...

    def samples_left(self) -> int | None:
        """Estimate how many more observations a verdict takes if they go on as they did.

        Returns:
            0 once there is a verdict; None before the first sample and where the evidence does not grow.
        """
        ...


class Ledger:
    """Turns the four capitals after each sample into evidence: peaks, a verdict that stays, and what it is called.

    A verdict that waits for `min_samples` is read off the peaks. That a peak ever reaches 1/a has chance at most a, so
    every promise holds as it does without waiting.
    """

    def __init__(self, plan: TestPlan) -> None:
        self.plan = plan
        self._peak = [1.0] * len(PROCESSES)
        self._verdict: Verdict = "inconclusive"

    def weigh(self, samples: int, mean: float, now: Sequence[float], *, scored: int) -> Evidence:
        """Enter the capitals, in the order of `PROCESSES`.

        Args:
            samples: Drawn so far.
            mean: Of the differences.
            now: The capitals.
            scored: How many of the samples could be scored.
        """
        no_worse, futility, better, worse = now
        self._peak = [max(before, value) for before, value in zip(self._peak, now, strict=True)]
        plan = self.plan
        peak = EValues(no_worse=self._peak[0], futility=self._peak[1], better=self._peak[2], worse=self._peak[3])
        # A pass is asked first: where both bounds are reached, the loss is real and within the margin.
        if self._verdict == "inconclusive" and scored >= plan.min_samples:
            if peak.no_worse >= 1.0 / plan.alpha:
                self._verdict = "pass"
            elif peak.futility >= 1.0 / plan.beta or peak.worse >= 1.0 / plan.alpha:
                self._verdict = "fail"
        return Evidence(
            samples=samples,
            mean=mean,
            no_worse=no_worse,
            futility=futility,
            better=better,
            worse=worse,
            peak=peak,
            verdict=self._verdict,
            shown=_shown(plan, self._verdict, peak),
            finished=self._verdict != "inconclusive" or (plan.max_samples is not None and samples >= plan.max_samples),
        )


def log_optimal_bet(tie: float, gap: float, discordance: float) -> float:
    """Bet that maximises the expected log capital of one design alternative.

    The payoff of one sample is x = tie + 1 for a win, tie - 1 for a loss, tie for equal scores. The alternative has
    mean payoff `gap`, so that wins have chance (d + gap - tie) / 2 and losses (d - gap + tie) / 2 where d is the
    discordance. Setting the derivative of E log(1 + bet * x) to zero leaves

        tie (tie^2 - 1) bet^2 + (tie^2 + gap tie - d) bet + gap = 0,

    whose smallest positive root this returns, at most `BET_CAP` / (largest loss). For graded scores d is the second
    moment of the differences, which is the discordance where scores are 0 or 1.

    Args:
        tie: Payoff of equal scores, in (-1, 1).
        gap: Mean payoff of the alternative, above 0.
        discordance: Share of samples on which the scores differ, 0 to 1. Must not depend on the sample bet on.
    """
    possible = max(discordance, gap - tie)
    linear = tie * tie + gap * tie - possible
    square = max(linear * linear - 4.0 * tie * (tie * tie - 1.0) * gap, 0.0)
    steepness = math.sqrt(square) - linear
    cap = BET_CAP / (1.0 - tie)
    return cap if 2.0 * gap >= cap * steepness else 2.0 * gap / steepness


class PairedTest:
    """Test a candidate against an incumbent on paired scores, one sample at a time.

    With d the true mean difference and m the margin, at whatever sample one stops:
        P(pass | d <= -m) <= alpha          `no_worse` reached 1/alpha
        P(fail | d >= 0) <= beta + alpha    `futility` reached 1/beta, or `worse` reached 1/alpha
        P("better" shown | d <= 0) <= alpha
        P("worse" shown | d >= -m) <= alpha
    In practice `futility` is reached long before `worse`, and the second line is beta. They hold with `min_samples` too.
    """

    def __init__(self, plan: TestPlan) -> None:
        self.plan = plan
        self._ledger = Ledger(plan)
        self._log_capital = [[0.0] * len(GAPS) for _ in PROCESSES]
        self._samples = 0
        self._sum = 0.0
        self._squares = 0.0
        self.evidence = self._ledger.weigh(0, 0.0, [1.0] * len(PROCESSES), scored=0)

    @property
    def discordance(self) -> float:
        """Share of samples on which the scores differ, from earlier samples and the prior only."""
        return (PRIOR_SAMPLES * PRIOR_DISCORDANCE + self._squares) / (PRIOR_SAMPLES + self._samples)

    def bets(self) -> list[list[float]]:
        """The three bets of each process that the next sample will meet, in the order of `PROCESSES`."""
        margin, discordance = self.plan.margin, self.discordance
        # `futility` and `better` bet on the same payoff in opposite directions.
        above, level, below = (
            [log_optimal_bet(tie, margin * gap, discordance) for gap in GAPS] for tie in (margin, 0.0, -margin)
        )
        return [above, level, level, below]

    def update(self, difference: float | None) -> Evidence:
        """Add one paired difference, candidate minus incumbent. None, which could not be scored, says nothing.

        Raises:
            ValueError: The difference is not a number in [-1, 1]; scores lie in [0, 1]. Nothing was added.
        """
        if difference is None:
            return self.evidence
        if not -1.0 <= difference <= 1.0:
            raise ValueError(f"Difference `{difference}` is not in -1 to 1: scores must lie in 0 to 1.")
        now: list[float] = []
        for logs, bets, payoff in zip(self._log_capital, self.bets(), self._payoffs(difference), strict=True):
            for number, bet in enumerate(bets):
                logs[number] += math.log1p(bet * payoff)
            now.append(mixed(logs))
        self._samples += 1
        self._sum += difference
        self._squares += difference * difference
        self.evidence = self._ledger.weigh(self._samples, self._sum / self._samples, now, scored=self._samples)
        return self.evidence

    def samples_left(self) -> int | None:
        """Estimate how many more samples a verdict takes if the differences go on as they did.

        Returns:
            0 once there is a verdict; None before the first sample and where the evidence does not grow.
        """
        seen = self.evidence
        if seen.verdict != "inconclusive":
            return 0
        if seen.samples == 0:
            return None
        spread = min(1.0, max(self._squares / seen.samples, abs(seen.mean)))
        chances = ((1.0, (spread + seen.mean) / 2), (-1.0, (spread - seen.mean) / 2), (0.0, 1.0 - spread))
        bounds = ((seen.no_worse, self.plan.alpha), (seen.futility, self.plan.beta))
        waits: list[int] = []
        for process, (bets, (value, rate)) in enumerate(zip(self.bets()[:2], bounds, strict=True)):
            speed = max(
                sum(chance * math.log1p(bet * self._payoffs(outcome)[process]) for outcome, chance in chances)
                for bet in bets
            )
            if speed > 0.0:
                waits.append(max(1, math.ceil((-math.log(rate) - math.log(max(value, 1e-300))) / speed)))
        return at_least(self.plan.min_samples - seen.samples, min(waits, default=None))

    def _payoffs(self, difference: float) -> tuple[float, float, float, float]:
        shifted = difference + self.plan.margin
        return shifted, -difference, difference, -shifted


def mixed(log_capital: Sequence[float]) -> float:
    """Capital of a process: its bets' capitals by their shares."""
    capital = 0.0
    for weight, log in zip(WEIGHTS, log_capital, strict=True):  # twice as fast as sum() over a generator
        capital += weight * math.exp(log if log < LOG_MAX else LOG_MAX)
    return capital


def at_least(missing: int, estimate: int | None) -> int | None:
    """An estimate of samples left that reckons with those that are missing in any case."""
    return None if estimate is None else max(missing, estimate)


def _shown(plan: TestPlan, verdict: Verdict, peak: EValues) -> Shown | None:
    if verdict == "pass":
        return "better" if peak.better >= 1.0 / plan.alpha else "no worse"
    if verdict == "fail":
        return "worse" if peak.worse >= 1.0 / plan.alpha else "not as good"
    return None


def fixed_n(variance: float, margin: float, alpha: float = 0.05, beta: float = 0.10) -> int:
    """Samples that a paired test of fixed size needs to show non-inferiority of an equal candidate.

    (z_alpha + z_beta)^2 variance / margin^2, one-sided. The variance is that of the paired differences; for 0/1 scores
    the discordance rate minus the squared mean.

    Raises:
        ValueError: The variance is negative, or a share is not above 0 and below 1.
    """
    if variance < 0.0:
        raise ValueError(f"`variance` is `{variance}`; it cannot be negative.")
    plan = TestPlan(margin=margin, alpha=alpha, beta=beta)
    return max(1, math.ceil(_z_sum(plan.alpha, plan.beta) ** 2 * variance / plan.margin**2))


def detectable_loss(variance: float, samples: int, alpha: float = 0.05, beta: float = 0.10) -> float:
    """Smallest loss that this many samples would have shown with chance 1 - beta: `fixed_n` turned round."""
    if variance < 0.0 or samples < 1:
        raise ValueError(f"`variance` `{variance}` must not be negative and `samples` `{samples}` at least 1.")
    return _z_sum(alpha, beta) * math.sqrt(variance / samples)


def _z_sum(alpha: float, beta: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1.0 - alpha) + normal.inv_cdf(1.0 - beta)

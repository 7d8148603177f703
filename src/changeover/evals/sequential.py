"""Sequential tests of a candidate against an incumbent: looked at after every sample, and still right.

Each test is an e-process, the capital of a gambler who bets against a null hypothesis and cannot expect to win while
it is true. By Ville's inequality the capital ever reaches 1/a with probability at most a under the null, whenever one
looks or stops. The comparison feeds paired differences to `PairedTest`; the canary feeds bad events to `BadEventGuard`.

Samples must come in random order and be counted in that order, not in order of completion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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

_LOG_MAX = 700.0
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

    def __post_init__(self) -> None:
        for name, value in (("margin", self.margin), ("alpha", self.alpha), ("beta", self.beta)):
            if not 0.0 < value < 1.0:
                raise ValueError(f"`{name}` is `{value}`; it must lie above 0 and below 1.")
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"`max_samples` is `{self.max_samples}`; it must be at least 1, or None for no limit.")


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

    The four e-values are running products. `peak` holds their running maxima, which carry the same guarantee and are
    what a person is shown as the evidence so far.
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
    """Set by the first process that reaches its bound, and kept: later samples do not change it."""
    shown: Shown | None
    """The strongest claim that the evidence carries; None while there is none."""
    finished: bool
    """Whether to stop: a verdict, or no samples left in the plan."""


def log_optimal_bets(tie: Floats, gap: Floats, discordance: Floats) -> Floats:
    """Bets that maximise the expected log capital of one design alternative.

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
    possible = np.maximum(discordance, gap - tie)
    linear = tie * tie + gap * tie - possible
    square = linear * linear - 4.0 * tie * (tie * tie - 1.0) * gap
    root = 2.0 * gap / (np.sqrt(np.maximum(square, 0.0)) - linear)
    return np.minimum(root, BET_CAP / (1.0 - tie))


class BatchTest:
    """The four e-processes over many replications at once; `PairedTest` is one replication of it.

    Shapes: `log_capital` (processes, 3 bets, replications), `e_values` (processes, replications).
    """

    def __init__(self, plan: TestPlan, replications: int, processes: Sequence[Process] = PROCESSES) -> None:
        nulls: dict[Process, tuple[float, float]] = {
            "no_worse": (1.0, -plan.margin),
            "futility": (-1.0, 0.0),
            "better": (1.0, 0.0),
            "worse": (-1.0, -plan.margin),
        }
        self.processes = tuple(processes)
        sides = np.array([nulls[name] for name in self.processes]).reshape(-1, 2, 1, 1)
        self._side: Floats = sides[:, 0]
        self._tie: Floats = -sides[:, 0] * sides[:, 1]
        self._gaps: Floats = plan.margin * np.array(GAPS).reshape(1, -1, 1)
        self._weights: Floats = np.array(WEIGHTS).reshape(1, -1, 1)
        self._second_moment_sum: Floats = np.zeros(replications)
        self.samples = 0
        self.log_capital: Floats = np.zeros((len(self.processes), len(GAPS), replications))

    @property
    def discordance(self) -> Floats:
        """Predictable discordance rate of each replication: earlier samples and the prior only."""
        prior = PRIOR_SAMPLES * PRIOR_DISCORDANCE
        return (prior + self._second_moment_sum) / (PRIOR_SAMPLES + self.samples)

    def bets(self) -> Floats:
        """The bets that the next sample will meet, shape (processes, 3, replications)."""
        return log_optimal_bets(self._tie, self._gaps, self.discordance)

    def update(self, differences: Floats) -> Floats:
        """Add one difference to every replication and return the e-values.

        Args:
            differences: Candidate minus incumbent score, in [-1, 1], shape (replications,). Not checked here.
        """
        payoff = self._tie + self._side * differences
        self.log_capital += np.log1p(self.bets() * payoff)
        self._second_moment_sum += differences * differences
        self.samples += 1
        return self.e_values()

    def e_values(self) -> Floats:
        """Current capital, shape (processes, replications)."""
        capital: Floats = self._weights * np.exp(np.minimum(self.log_capital, _LOG_MAX))
        return capital.sum(axis=1)

    def growth(self, mean: float, second_moment: float) -> Floats:
        """Expected log capital gained per sample by the best bet, if the differences go on as described.

        Returns:
            Shape (processes, replications).
        """
        spread = min(1.0, max(second_moment, abs(mean)))
        bets = self.bets()
        total = np.zeros_like(bets)
        for outcome, chance in ((1.0, (spread + mean) / 2), (-1.0, (spread - mean) / 2), (0.0, 1.0 - spread)):
            total += chance * np.log1p(bets * (self._tie + self._side * outcome))
        best: Floats = total.max(axis=1)
        return best

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the replications that are False in `mask`, shape (replications,)."""
        self.log_capital = self.log_capital[:, :, mask]
        self._second_moment_sum = self._second_moment_sum[mask]


class PairedTest:
    """Test a candidate against an incumbent on paired scores, one sample at a time.

    With d the true mean difference and m the margin, at whatever sample one stops:
        P(pass | d <= -m) <= alpha          `no_worse` reached 1/alpha
        P(fail | d >= 0) <= beta + alpha    `futility` reached 1/beta, or `worse` reached 1/alpha
        P("better" shown | d <= 0) <= alpha
        P("worse" shown | d >= -m) <= alpha
    In practice `futility` is reached long before `worse`, and the second line is beta.
    """

    def __init__(self, plan: TestPlan) -> None:
        self.plan = plan
        self._batch = BatchTest(plan, 1)
        self._sum = 0.0
        self._squares = 0.0
        self._peak = [1.0] * len(PROCESSES)
        self._verdict: Verdict = "inconclusive"
        self.evidence = self._weigh([1.0] * len(PROCESSES))

    def update(self, difference: float) -> Evidence:
        """Add one paired difference, candidate minus incumbent.

        Raises:
            ValueError: The difference is not a number in [-1, 1]; scores lie in [0, 1]. Nothing was added.
        """
        if not -1.0 <= difference <= 1.0:
            raise ValueError(f"Difference `{difference}` is not in -1 to 1: scores must lie in 0 to 1.")
        now: list[float] = self._batch.update(np.array([difference], dtype=np.float64))[:, 0].tolist()
        self._sum += difference
        self._squares += difference * difference
        self._peak = [max(before, value) for before, value in zip(self._peak, now, strict=True)]
        if self._verdict == "inconclusive":
            self._verdict = _decide(self.plan, EValues(**dict(zip(PROCESSES, now, strict=True))))
        self.evidence = self._weigh(now)
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
        growth = self._batch.growth(seen.mean, self._squares / seen.samples)[:, 0]
        bounds = ((seen.no_worse, self.plan.alpha), (seen.futility, self.plan.beta))
        waits = [
            max(1, math.ceil((-math.log(rate) - math.log(max(value, 1e-300))) / speed))
            for (value, rate), speed in zip(bounds, growth.tolist(), strict=False)
            if speed > 0.0
        ]
        return min(waits, default=None)

    def _weigh(self, now: list[float]) -> Evidence:
        samples = self._batch.samples
        budget = self.plan.max_samples
        peak = EValues(**dict(zip(PROCESSES, self._peak, strict=True)))
        no_worse, futility, better, worse = now
        return Evidence(
            samples=samples,
            mean=self._sum / samples if samples else 0.0,
            no_worse=no_worse,
            futility=futility,
            better=better,
            worse=worse,
            peak=peak,
            verdict=self._verdict,
            shown=_shown(self.plan, self._verdict, peak),
            finished=self._verdict != "inconclusive" or (budget is not None and samples >= budget),
        )


def _decide(plan: TestPlan, now: EValues) -> Verdict:
    """Apply the stopping rule. A pass is asked first: where both hold, the loss is real and within the margin."""
    if now.no_worse >= 1.0 / plan.alpha:
        return "pass"
    if now.futility >= 1.0 / plan.beta or now.worse >= 1.0 / plan.alpha:
        return "fail"
    return "inconclusive"


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


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p value of McNemar's test: the familiar figure beside a verdict on 0/1 scores.

    It is right for one look at a number of samples fixed beforehand, not for a comparison stopped by its evidence.

    Args:
        gained: Samples that only the candidate got right.
        lost: Samples that only the incumbent got right.

    Source: Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"Counts cannot be negative: gained `{gained}`, lost `{lost}`.")
    total, fewer = gained + lost, min(gained, lost)
    logs = [_log_half_binomial(total, count) for count in range(fewer + 1)]
    tail = math.fsum(math.exp(value) for value in logs)
    return min(1.0, 2.0 * tail - math.exp(logs[-1])) if total else 1.0


def _log_half_binomial(total: int, count: int) -> float:
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return ways - total * math.log(2.0)


_GUARD_STEPS = np.array([0.5, 0.8, 1.2, 1.8, 2.6, 3.6])
_GUARD_WEIGHTS = np.array([0.25, 0.25, 0.20, 0.12, 0.10, 0.08])
"""The mixture: log-odds of its bad-event rates above the tolerated one, and their shares. At 3 % tolerated the rates
run from 5 to 53 %; half of real faults at 6, 10, 20 and 50 % are found within 384, 93, 24 and 6 events."""


def bad_event_evidence(tolerated_rate: float, *, events: int, bad_events: int) -> float:
    """E-value against "bad events are no more frequent than tolerated", from the counts alone.

    A mixture of likelihood ratios over six higher rates. While the true rate is at most the tolerated one, even
    if it varies, the chance that this ever reaches 1/alpha over a whole stream is at most alpha, whenever one looks.

    Raises:
        ValueError: The rate is not above 0 and below 1, or the counts cannot be.
    """
    if not 0.0 < tolerated_rate < 1.0:
        raise ValueError(f"`tolerated_rate` is `{tolerated_rate}`; it must lie above 0 and below 1.")
    if not 0 <= bad_events <= events:
        raise ValueError(f"`{bad_events}` bad events of `{events}` events cannot be.")
    log_odds = math.log(tolerated_rate / (1.0 - tolerated_rate)) + _GUARD_STEPS
    rates: Floats = 1.0 / (1.0 + np.exp(-log_odds))
    if_bad: Floats = np.log(rates / tolerated_rate)
    if_good: Floats = np.log((1.0 - rates) / (1.0 - tolerated_rate))
    log_ratios: Floats = bad_events * if_bad + (events - bad_events) * if_good
    return float(_GUARD_WEIGHTS @ np.exp(np.minimum(log_ratios, _LOG_MAX)))


class BadEventGuard:
    """Watch a canary's stream of requests for more bad events than are tolerated.

    One error rate for the whole watch: P(ever an alarm) <= alpha while bad events are no more frequent than tolerated.
    """

    def __init__(self, tolerated_rate: float, alpha: float = 0.01) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"`alpha` is `{alpha}`; it must lie above 0 and below 1.")
        self.tolerated_rate = tolerated_rate
        self.alpha = alpha
        self.events = 0
        self.bad_events = 0
        self.e_value = bad_event_evidence(tolerated_rate, events=0, bad_events=0)
        self.peak = self.e_value

    @property
    def alarm(self) -> bool:
        """Whether the e-value has ever reached 1/alpha. It stays on."""
        return self.peak >= 1.0 / self.alpha

    def update(self, bad: bool) -> float:
        """Add one event, in the order the requests were sent, and return the e-value."""
        self.events += 1
        self.bad_events += bad
        self.e_value = bad_event_evidence(self.tolerated_rate, events=self.events, bad_events=self.bad_events)
        self.peak = max(self.peak, self.e_value)
        return self.e_value

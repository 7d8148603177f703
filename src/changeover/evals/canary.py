"""What watches a candidate that answers real requests: bad events before its promotion and after, and what is slow.

Plain arithmetic without numpy: an event costs some microseconds. `rollouts/guards.py` puts the parts together.
"""

from __future__ import annotations

import math
from collections import deque

from changeover.evals.sequential import LOG_MAX

_STEPS = (0.5, 0.8, 1.2, 1.8, 2.6, 3.6)
_WEIGHTS = (0.25, 0.25, 0.20, 0.12, 0.10, 0.08)
"""The mixture: log-odds of its bad-event rates above the tolerated one, and their shares. At 3 % tolerated the rates
run from 5 to 53 %; half of real faults at 6, 10, 20 and 50 % are found within 384, 93, 24 and 6 events."""
_MOST = math.exp(LOG_MAX)


def bad_event_evidence(tolerated_rate: float, *, events: int, bad_events: int) -> float:
    """What `BadEvents` says after so many events, for whoever knows the counts alone.

    Raises:
        ValueError: The rate is not above 0 and below 1, or the counts cannot be.
    """
    if not 0 <= bad_events <= events:
        raise ValueError(f"`{bad_events}` bad events of `{events}` events cannot be.")
    return _mixture(_log_ratios(tolerated_rate), events - bad_events, bad_events)


class BadEvents:
    """E-process against "bad events are no more frequent than tolerated": watches a candidate before its promotion.

    A mixture of likelihood ratios over six higher rates, which depends on the counts alone. While the true rate is at
    most the tolerated one, even if it varies, the chance that the evidence ever reaches 1/alpha over a whole stream is
    at most alpha, whenever one looks.
    """

    def __init__(self, tolerated_rate: float) -> None:
        self.tolerated_rate = tolerated_rate
        self.events = 0
        self.bad_events = 0
        self.evidence = 1.0
        self._ratios = _log_ratios(tolerated_rate)

    def update(self, bad: bool) -> float:
        """Add one event and return the e-value."""
        self.events += 1
        self.bad_events += bad
        self.evidence = _mixture(self._ratios, self.events - self.bad_events, self.bad_events)
        return self.evidence


class DriftDetector:
    """Notice that bad events have become more frequent than tolerated, whenever that happens: after a promotion.

    For each of the six higher rates of `BadEvents`, with L the likelihood ratio of one event against the
    tolerated rate,

        M_t = (1 + M_{t-1}) L_t,    M_0 = 0,

    which adds up, over all times at which the change may have been, the evidence since then. The evidence is their
    weighted mean: an e-Shiryaev-Roberts detector. It needs no reset and forgets a good past by itself.

    While the rate is at most the tolerated one, given whatever happened before, E[L_t | past] <= 1, so M_t - t cannot
    be expected to rise, and E[M at a stopping time] <= E[that time]. An alarm when M first reaches A therefore comes
    after A events or more on average (the average run length). That is a mean: chance of an alarm within n events is
    at most n / A.

    Source: Shin, Ramdas & Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change detection",
    arXiv:2203.03532, section 2; the statistic is that of Shiryaev 1963 and Roberts 1966.
    """

    def __init__(self, tolerated_rate: float) -> None:
        self.tolerated_rate = tolerated_rate
        self.events = 0
        self.bad_events = 0
        self.evidence = 0.0
        ratios = _log_ratios(tolerated_rate)
        self._if_bad = [math.exp(if_bad) for if_bad, _ in ratios]
        self._if_good = [math.exp(if_good) for _, if_good in ratios]
        self._sums = [0.0] * len(_STEPS)

    def update(self, bad: bool) -> float:
        """Add one event and return the evidence."""
        self.events += 1
        self.bad_events += bad
        factors = self._if_bad if bad else self._if_good
        self._sums = [min((1.0 + past) * now, _MOST) for past, now in zip(self._sums, factors, strict=True)]
        self.evidence = sum(weight * value for weight, value in zip(_WEIGHTS, self._sums, strict=True))
        return self.evidence


def _log_ratios(tolerated_rate: float) -> list[tuple[float, float]]:
    """What a bad event and a good one add to the log likelihood ratio of each rate of the mixture."""
    if not 0.0 < tolerated_rate < 1.0:
        raise ValueError(f"`tolerated_rate` is `{tolerated_rate}`; it must lie above 0 and below 1.")
    log_odds = math.log(tolerated_rate / (1.0 - tolerated_rate))
    rates = [1.0 / (1.0 + math.exp(-log_odds - step)) for step in _STEPS]
    return [(math.log(rate / tolerated_rate), math.log((1.0 - rate) / (1.0 - tolerated_rate))) for rate in rates]


def _mixture(ratios: list[tuple[float, float]], good_events: int, bad_events: int) -> float:
    total = 0.0
    for weight, (if_bad, if_good) in zip(_WEIGHTS, ratios, strict=True):
        log = bad_events * if_bad + good_events * if_good
        total += weight * math.exp(log if log < LOG_MAX else LOG_MAX)
    return total


P95 = 0.95
WINDOW = 500
"""Durations of the incumbent that a threshold is taken from, or more where a small tolerated share asks for it."""
RECENT = 50
"""Latest of them, whose p95 a threshold is never below: some slow answers of the incumbent are enough to raise it."""


def durations_needed(tolerated: float, delta: float) -> int:
    """Fewest durations of which the largest is exceeded by at most the tolerated share, with chance 1 - delta."""
    return math.ceil(math.log(delta) / math.log1p(-tolerated))


def tolerance_rank(durations: int, tolerated: float, delta: float) -> int | None:
    """Which of so many durations, from the smallest, bounds the tolerated share from above with chance 1 - delta.

    The k-th smallest of n lies below the (1 - tolerated)-quantile only if k or more of the n do, which has the chance
    P(Binomial(n, 1 - tolerated) >= k) where they are independent; with ties less. The smallest k for which that is at
    most delta.

    Returns:
        1 to `durations`; None where not even the largest will do.

    Source: one-sided distribution-free tolerance bound, Wilks 1941; Meeker, Hahn & Escobar 2017, "Statistical
    Intervals", section 5.3.
    """
    rank, chance = durations + 1, 0.0
    below, above = math.log1p(-tolerated), math.log(tolerated)
    while rank > 1:
        under = rank - 1
        ways = math.lgamma(durations + 1) - math.lgamma(under + 1) - math.lgamma(durations - under + 1)
        chance += math.exp(ways + under * below + (durations - under) * above)
        if chance > delta:
            break
        rank = under
    return rank if rank <= durations else None


class LatencyReference:
    """What counts as slow for a candidate, by the incumbent's latest answers to the same stream of requests.

    The threshold is `slowdown` times an upper bound of the incumbent's quantile: the p95 of its latest durations, or a
    higher order statistic where so few do not bound the tolerated share with it. It comes from the incumbent alone,
    never from the request that it judges.

    What is guaranteed: let the durations of both be independent draws from one distribution, times how slow the machine
    is at the moment, and let that not rise by more than the factor `slowdown` within one and a half windows. Then with
    chance 1 - delta the candidate exceeds none of the thresholds of the whole rollout with more than the tolerated
    chance. The bound is taken anew when half a window is new; the j-th one may be wrong with chance
    delta / (j (j + 1)), which adds up to delta however long it goes on.

    What is not: durations that come in bursts bound less than so many independent ones, and a machine that gets slower
    by more than `slowdown` at once is seen in the candidate as soon as in the incumbent. Against both, no threshold
    lies below `slowdown` times the p95 of the latest 50 answers, so that three slow ones of the incumbent raise it; this
    only makes alarms rarer. Nor is a candidate judged fairly that is asked by other callers, with longer texts. The
    factor and the tolerated share are there for what remains.
    """

    def __init__(self, tolerated: float, slowdown: float, delta: float) -> None:
        self.slowdown = slowdown
        self.seen = 0
        self.needed = durations_needed(tolerated, delta / 2)
        """Durations before there is a threshold."""
        self.window = max(WINDOW, 3 * self.needed)
        """Durations that are kept. Three times the needed ones still bound the share at the thousandth renewal."""
        self._tolerated = tolerated
        self._delta = delta
        self._latest: deque[float] = deque(maxlen=self.window)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._renewals = 0
        self._renew_at = self.needed
        self._bound: float | None = None
        self._name = ""
        self._recent_p95: float | None = None

    def add(self, duration_ms: float) -> None:
        """Add an answer of the incumbent, in order.

        Raises:
            ValueError: It is no duration.
        """
        if not 0.0 <= duration_ms < math.inf:
            raise ValueError(f"`{duration_ms}` is no duration in milliseconds.")
        self.seen += 1
        self._latest.append(duration_ms)
        self._recent.append(duration_ms)
        self._recent_p95 = None
        if self.seen >= self._renew_at:
            self._renew()

    @property
    def threshold_ms(self) -> float | None:
        """Durations above it are slow; None while there are too few of the incumbent's."""
        if self._bound is None:
            return None
        if self._recent_p95 is None:
            self._recent_p95 = _order_statistic(self._recent, _p95_rank(len(self._recent)))
        return self.slowdown * max(self._bound, self._recent_p95)

    @property
    def note(self) -> str:
        """What counts as slow, or why nothing does yet."""
        threshold = self.threshold_ms
        if self._bound is None or threshold is None:
            return f"{self.seen} of {self.needed} answers of the incumbent needed first"
        name = self._name if threshold == self.slowdown * self._bound else "p95"
        return f"slower than {threshold:.0f} ms, {self.slowdown:g} × the incumbent's {name}"

    def _renew(self) -> None:
        known = len(self._latest)
        self._renew_at = self.seen + min(known, self.window // 2)
        rank = tolerance_rank(known, self._tolerated, self._delta / ((self._renewals + 1) * (self._renewals + 2)))
        if rank is None:
            return
        self._renewals += 1
        rank = max(rank, _p95_rank(known))
        self._bound = _order_statistic(self._latest, rank)
        self._name = f"slowest of {known}" if rank == known else f"p{100 * rank / known:.0f}"


def _p95_rank(durations: int) -> int:
    return math.ceil(P95 * durations)


def _order_statistic(durations: deque[float], rank: int) -> float:
    return sorted(durations)[rank - 1]

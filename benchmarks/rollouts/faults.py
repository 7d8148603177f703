"""How many requests it takes to find a bad candidate: the guards, one guard alone, and a z test that is looked at again."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from benchmarks.rollouts.world import Faults, Simulation, World, durations, endless, tier_plan
from changeover.evals.canary import BadEvents, DriftDetector
from changeover.rollouts.decide import Plan
from changeover.rollouts.guards import Guards

PLAN = tier_plan("low")
CANARY = endless(1_000_000)
ALARM = 1.0 / PLAN.alpha
RATES = (0.06, 0.10, 0.20, 0.50)
MOST = 3_000
"""Requests of the candidate after which the search is given up."""
GOOD = Faults(failed=0.02)
"""Before a drift: two points below what is found within a few hundred requests."""
BEFORE = 1_000
"""Requests after the promotion before a drift begins."""
LOOK_EVERY = 50
Z = NormalDist().inv_cdf(0.99)


@dataclass(frozen=True)
class Found:
    """How soon something is noticed."""

    fault: str
    method: str
    median: float
    p90: float
    found: float
    """Share of the runs in which it was noticed within `MOST` events."""
    limit: float | None
    """log(1/alpha) / KL(bad share, tolerated): no test with this error rate needs less on average. None: not bad, or a
    drift, of which such a bound is known for the worst case and long waits only."""


CANARY_FAULTS: tuple[tuple[str, World], ...] = (
    *((f"{100 * rate:.0f} % fail", World(candidate=Faults(failed=rate))) for rate in RATES),
    *((f"{100 * rate:.0f} % break the contract", World(candidate=Faults(violated=rate))) for rate in RATES[1:]),
    *((f"{times} times slower", World(candidate=Faults(slower=times))) for times in (2, 5, 10)),
    *(
        (f"{times} times slower, heavy tails", World(candidate=Faults(slower=times), tails="pareto"))
        for times in (5, 10)
    ),
    *(
        (f"{100 * rate:.0f} % of ratings bad", World(candidate=Faults(disliked=rate), rated=1.0))
        for rate in (0.5, 0.7, 0.9)
    ),
)


def limit(bad: float, tolerated: float, odds: float) -> float | None:
    """Fewest events, on average, of any test that so seldom raises a false alarm."""
    if bad <= tolerated:
        return None
    divergence = bad * math.log(bad / tolerated)
    if bad < 1.0:
        divergence += (1.0 - bad) * math.log((1.0 - bad) / (1.0 - tolerated))
    return math.log(odds) / divergence


def bad_share(world: World) -> tuple[float, float]:
    """Of the events that the fault is in: the share that is bad, and the tolerated one."""
    faults = world.candidate
    if faults.slower > 1.0:
        took = durations(world.tails, np.random.default_rng(9), 400_000)
        slow = PLAN.slowdown * np.quantile(took, 0.95)
        return float((faults.slower * took > slow).mean()), PLAN.tolerated_slow
    if world.rated == 1.0:
        return faults.disliked, PLAN.tolerated_dislikes
    if faults.violated > faults.failed:
        return faults.violated, PLAN.tolerated_violations
    return faults.failed, PLAN.tolerated_failures


def to_rollback(name: str, world: World, runs: int) -> Found:
    """Requests of the candidate from the first one of a canary at 25 % to the rollback."""
    waits: list[float] = []
    for seed in range(runs):
        ended = Simulation(CANARY, world, seed).run(4 * MOST)
        waits.append(ended.asked if ended.state == "rolled_back" else math.inf)
    return _found(name, "all guards", waits, limit(*bad_share(world), ALARM))


def one_guard(rate: float, runs: int) -> Found:
    """The same for failures, where nothing else is watched."""
    waits: list[float] = []
    for seed in range(runs):
        watch, bad = BadEvents(PLAN.tolerated_failures), np.random.default_rng(seed).random(MOST) < rate
        waits.append(_first(watch, bad.tolist(), ALARM))
    return _found(f"{100 * rate:.0f} % fail", "one guard alone", waits, limit(rate, PLAN.tolerated_failures, ALARM))


def naive(rate: float, runs: int, most: int = MOST) -> tuple[Found, float]:
    """A one-sided z test of the failure rate at 1 %, every 50 requests. With it, the share of runs with an alarm."""
    bad = np.random.default_rng(3).random((runs, most)) < rate
    looks = np.arange(LOOK_EVERY, most + 1, LOOK_EVERY)
    tolerated = PLAN.tolerated_failures
    counts = bad.cumsum(axis=1)[:, looks - 1]
    alarm = (counts - looks * tolerated) / np.sqrt(looks * tolerated * (1.0 - tolerated)) > Z
    some = alarm.any(axis=1)
    waits = np.where(some, looks[alarm.argmax(axis=1)], np.inf)
    found = _found(f"{100 * rate:.0f} % fail", "z test every 50", waits.tolist(), limit(rate, tolerated, ALARM))
    return found, float(some.mean())


def to_drift_alarm(rate: float, runs: int) -> tuple[Found, Found]:
    """Requests from the moment at which a promoted candidate begins to fail: all guards, and one detector alone."""
    together: list[float] = []
    alone: list[float] = []
    odds = float(PLAN.drift_requests)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        guards, detector = promoted_guards(random), DriftDetector(PLAN.tolerated_failures)
        for failed in (random.random(BEFORE) < GOOD.failed).tolist():
            _ask(guards, random, failed)
            detector.update(failed)
        bad: list[bool] = (random.random(MOST) < rate).tolist()
        alone.append(_first(detector, bad, odds))
        waited = math.inf
        for number, failed in enumerate(bad, start=1):
            _ask(guards, random, failed)
            if guards.evidence >= odds:
                waited = float(number)
                break
        together.append(waited)
    name = f"{100 * rate:.0f} % fail after the promotion"
    return _found(name, "all guards", together, None), _found(name, "one detector alone", alone, None)


def false_alarm_after(drift_requests: int, runs: int, most: int) -> float:
    """Mean number of requests to an alarm after a promotion with every share as large as is tolerated; at most `most`."""
    plan = replace(PLAN, drift_requests=drift_requests)
    waits: list[int] = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        guards = promoted_guards(random, plan)
        for number in itertools.count(1):
            _ask(guards, random, bool(random.random() < plan.tolerated_failures), at_the_limit=True)
            if guards.evidence >= drift_requests or number == most:
                waits.append(number)
                break
    return float(np.mean(waits))


def promoted_guards(random: np.random.Generator, plan: Plan = PLAN) -> Guards:
    """Guards that know the incumbent's durations, after the promotion."""
    guards = Guards(plan)
    for duration in durations("lognormal", random, guards.history).tolist():
        guards.incumbent(duration)
    guards.promoted()
    return guards


def _ask(guards: Guards, random: np.random.Generator, failed: bool, *, at_the_limit: bool = False) -> None:
    usual = (PLAN.tolerated_violations, PLAN.tolerated_dislikes) if at_the_limit else (0.005, 0.1)
    violated, rated, good = random.random(3).tolist()
    took = 400.0 * math.exp(0.5 * random.standard_normal())
    guards.candidate(failed=failed, violated=violated < usual[0], duration_ms=took)
    if not failed and rated < 0.2:
        guards.feedback(good >= usual[1])


def _first(watch: BadEvents | DriftDetector, bad: list[bool], odds: float) -> float:
    return next((float(number) for number, each in enumerate(bad, start=1) if watch.update(each) >= odds), math.inf)


def _found(fault: str, method: str, waits: list[float], least: float | None) -> Found:
    values = sorted(waits)
    return Found(
        fault=fault,
        method=method,
        median=values[len(values) // 2],
        p90=values[min(math.ceil(0.9 * len(values)), len(values) - 1)],
        found=sum(map(math.isfinite, values)) / len(values),
        limit=least,
    )

"""Rollouts of a bundle against itself: who is taken out is a false alarm. And the evaluation before them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.rollouts.world import Ended, Faults, Simulation, World, endless, promoted_without_traffic, tier_plan
from changeover.evals.datasets.power import verdicts
from changeover.evals.sequential import TestPlan
from changeover.rollouts.decide import Plan
from changeover.tasks.declarations import TIERS, Tier

LOW, HIGH = tier_plan("low"), tier_plan("high")
TIER_NAMES: tuple[Tier, ...] = ("low", "medium", "high")
MOST = 400_000
"""Requests to a rollout; each needs far fewer."""
SAMPLES = 400
"""Of the dataset of an evaluation."""


@dataclass(frozen=True)
class Scenario:
    """A rollout in which the candidate is the incumbent once more."""

    name: str
    plan: Plan
    world: World
    weight: float = 1.0
    """Of the replications: long ones have fewer."""
    bake: bool = False
    promised: bool = True
    """Whether the guarantee covers it."""


def at_the_limit(plan: Plan) -> Faults:
    """As bad as is tolerated in every respect."""
    return Faults(failed=plan.tolerated_failures, violated=plan.tolerated_violations, disliked=plan.tolerated_dislikes)


STRICT = replace(LOW, slowdown=1.0)
"""With nothing to spare for durations."""
LONG = replace(endless(5_000), slowdown=1.0)
SCENARIOS = (
    Scenario("low tier, usual", LOW, World(), bake=True),
    Scenario("low tier, all shares as tolerated", LOW, World(candidate=at_the_limit(LOW)), bake=True),
    Scenario("low tier, as tolerated, slowdown 1", STRICT, World(candidate=at_the_limit(STRICT))),
    Scenario("low tier, heavy tails, slowdown 1", STRICT, World(tails="pareto")),
    Scenario("low tier, machine drifts by 3 and back", LOW, World(machine="drifts", times=3.0)),
    Scenario("low tier, machine slows by 2.5 at once", LOW, World(machine="jumps", times=2.5)),
    Scenario("low tier, machine slows by 10 at once", LOW, World(machine="jumps", times=10.0), promised=False),
    Scenario("high tier, all shares as tolerated", HIGH, World(candidate=at_the_limit(HIGH)), weight=0.4),
    Scenario("5,000 in the canary, as tolerated, slowdown 1", LONG, World(candidate=at_the_limit(LONG)), weight=0.4),
)


@dataclass(frozen=True)
class Row:
    """What became of the rollouts of one scenario."""

    scenario: str
    runs: int
    alarms: float
    """Share with an alarm before the promotion."""
    promoted: float
    asked: float
    """Median number of requests of the candidate before the promotion."""
    alarms_baking: float | None
    """Share of the promoted with an alarm in the bake time; None: it was left out."""
    allowed_baking: float | None
    """At most so large: requests of the bake time over `drift_requests`."""
    promised: bool


def measure(runs: int) -> list[Row]:
    return [_row(scenario, max(1, round(runs * scenario.weight))) for scenario in SCENARIOS]


def _row(scenario: Scenario, runs: int) -> Row:
    ended = [Simulation(scenario.plan, scenario.world, seed).run(MOST, bake=scenario.bake) for seed in range(runs)]
    promoted = [each for each in ended if each.promoted]
    return Row(
        scenario=scenario.name,
        runs=runs,
        alarms=sum(each.state == "rolled_back" and not each.promoted for each in ended) / runs,
        promoted=len(promoted) / runs,
        asked=float(np.median([each.asked - each.baked for each in ended])),
        alarms_baking=_share_rolled_back(promoted) if scenario.bake else None,
        allowed_baking=_mean_baked(promoted) / scenario.plan.drift_requests if scenario.bake else None,
        promised=scenario.promised,
    )


def _share_rolled_back(promoted: list[Ended]) -> float:
    return sum(each.state == "rolled_back" for each in promoted) / max(len(promoted), 1)


def _mean_baked(promoted: list[Ended]) -> float:
    return sum(each.baked for each in promoted) / max(len(promoted), 1)


def moved_without_traffic() -> int:
    """How many of the tiers' rollouts went on to anything in a month without a request."""
    return sum(promoted_without_traffic(tier_plan(tier)) for tier in TIER_NAMES)


@dataclass(frozen=True)
class Evaluated:
    """How comparisons with their gate ended."""

    tier: str
    pair: str
    discordance: float
    passed: float
    failed: float
    inconclusive: float
    median_samples: float


def evaluate(runs: int) -> list[Evaluated]:
    """The evaluation by each tier's gate: a bundle against itself, and one that is worse by exactly the margin."""
    rows: list[Evaluated] = []
    for tier in TIER_NAMES:
        gate = {"margin": 0.05, "min_samples": 1, **TIERS[tier].get("gate", {})}
        plan = TestPlan(margin=gate["margin"], min_samples=gate["min_samples"], max_samples=SAMPLES)
        for discordance in (0.02, 0.10, 0.20):
            rows.append(_evaluated(tier, "against itself", plan, discordance, 0.0, runs))
            rows.append(
                _evaluated(tier, "worse by the margin", plan, max(discordance, plan.margin), -plan.margin, runs)
            )
    return rows


def _evaluated(tier: str, pair: str, plan: TestPlan, discordance: float, mean: float, runs: int) -> Evaluated:
    """`discordance` of the samples score differently, as another seed or batch makes them."""
    drawn = np.random.default_rng(17).random((SAMPLES, runs))
    wins = (discordance + mean) / 2
    differences = np.where(drawn < wins, 1.0, np.where(drawn < discordance, -1.0, 0.0))
    ended = verdicts(plan, differences)
    counts = Counter(verdict for verdict, _ in ended)
    return Evaluated(
        tier=tier,
        pair=pair,
        discordance=discordance,
        passed=counts["pass"] / runs,
        failed=counts["fail"] / runs,
        inconclusive=counts["inconclusive"] / runs,
        median_samples=float(np.median([samples for _, samples in ended])),
    )

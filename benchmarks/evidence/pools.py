"""How much cached scores of earlier models save: matrices of models by items, replayed pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.evidence.replays import PLAN, Floats, Pair, Summary, forced, replay, summarise
from changeover.evals.covariates import MOST_MODELS, About

NEAR = 0.05
"""Pairs of models that somebody would compare: within so much of each other."""
MODELS, RECORDED_ITEMS = 53, 803
SEED = 803


@dataclass(frozen=True)
class Amount:
    """How much is replayed."""

    pairs: int
    orders: int
    """Random orders for each pair."""
    forced: int
    """Runs with no difference, and as many with a loss of the margin."""


def simulated_scores(items: int, seed: int = SEED) -> Floats:
    """Graded scores of 53 models in ten families by an item-response model, shape (models, items).

    Calibrated to what was recorded of AlpacaEval 2 (53 models, 803 items): among models within 5 points of each other
    median correlation .55 (recorded .54), variance of the differences .091 (.090), and left of it after regression on
    the incumbent .78 (.83), with the mean of the others .61 (.66), on all .54 (.56). Simulated, not recorded.
    """
    random = np.random.default_rng(seed)
    families = np.arange(MODELS) % 10
    ability = -0.21 + 1.71 * random.standard_normal(10)[families] + 0.25 * random.standard_normal(MODELS)
    difficulty = 1.34 * random.standard_normal(items)
    latent = ability[:, None] - difficulty + 0.94 * random.standard_normal((MODELS, items))
    scores: Floats = 1.0 / (1.0 + np.exp(-3.12 * latent))
    return scores


def near_pairs(scores: Floats, most: int, random: np.random.Generator) -> list[Pair]:
    """Pairs of models within 5 points, both ways round; the cached models are chosen at random, not by their use."""
    means = scores.mean(axis=1)
    found = [
        (candidate, incumbent)
        for candidate in range(len(scores))
        for incumbent in range(len(scores))
        if candidate != incumbent and abs(means[candidate] - means[incumbent]) <= NEAR
    ]
    pairs: list[Pair] = []
    for index in random.permutation(len(found))[:most]:
        candidate, incumbent = found[index]
        others = [model for model in range(len(scores)) if model not in (candidate, incumbent)]
        chosen = random.permutation(others)[:MOST_MODELS]
        pairs.append(Pair(scores[candidate], scores[incumbent], scores[chosen]))
    return pairs


def measure(data: str, scores: Floats, amount: Amount, *, with_population: bool = False) -> list[Summary]:
    """Replay pairs of one matrix as they are, forced to equality, and forced onto the null's edge."""
    random = np.random.default_rng(SEED)
    pairs = near_pairs(scores, amount.pairs, random)
    chosen = [pairs[number % len(pairs)] for number in range(amount.forced)]
    kinds = {
        "as they are": [pair for pair in pairs for _ in range(amount.orders)],
        "equal": [forced(pair, 0.0, random) for pair in chosen],
        "null": [forced(pair, -PLAN.margin, random) for pair in chosen],
    }
    half, quarter = scores.shape[1] // 2, scores.shape[1] // 4
    tests: list[tuple[str, About | None, int, int | None]] = [
        ("plain", None, 0, None),
        ("dataset, incumbent only", "dataset", 0, None),
        (f"dataset, {min(MOST_MODELS, len(scores) - 2)} models", "dataset", MOST_MODELS, None),
    ]
    if with_population:
        tests += [
            ("plain, at most half", None, 0, half),
            ("population, 1 partner", "population", MOST_MODELS, half),
            ("plain, at most a quarter", None, 0, quarter),
            ("population, 3 partners", "population", MOST_MODELS, quarter),
        ]
    rows: list[Summary] = []
    for name, about, models, most in tests:
        for kind, members in kinds.items():
            runs = (
                replay(Pair(pair.candidate, pair.incumbent, pair.others[:models]), about, random, most)
                for pair in members
            )
            rows.append(summarise(data, name, kind, runs))
    return rows

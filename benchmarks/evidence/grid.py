"""Simulated pairs of right-or-wrong models on a grid of correlations and true differences; the product and its peers.

The incumbent is right on 80 % of the samples, the two models' answers correlate by .3, .6 or .9 where they are equal,
and the margin is 2 points. A true difference comes on top of the discordance of equal models: the better one gains
samples, the worse one gains none back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.batch import BatchTest
from changeover.evals.sequential import TestPlan, fixed_n

CORRELATIONS = (0.3, 0.6, 0.9)
DELTAS = tuple(range(-5, 6))
"""True differences in points."""
ACCURACY = 0.8
PLAN = TestPlan(margin=0.02)
MOST_SAMPLES = 80 * 4796
"""Far beyond what any replication needs; a backstop, not a budget."""
SEED = 20_26
Z_GO = 1.6448536
"""One-sided normal quantile at 5 %."""
LOOK_EVERY = 50
SPRT_EVERY, SPRT_FROM = 10, 50

Used = NDArray[np.int64]
Passed = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    correlation: float
    delta: float

    @property
    def equal_discordance(self) -> float:
        """Share of samples on which two equal models differ."""
        return 2.0 * ACCURACY * (1.0 - ACCURACY) * (1.0 - self.correlation)

    @property
    def discordance(self) -> float:
        return self.equal_discordance + abs(self.delta)

    @property
    def chances(self) -> tuple[float, float, float]:
        """Of a win, a loss and a tie."""
        return (self.discordance + self.delta) / 2, (self.discordance - self.delta) / 2, 1.0 - self.discordance

    @property
    def n_fix(self) -> int:
        return fixed_n(round(self.equal_discordance, 12), PLAN.margin, PLAN.alpha, PLAN.beta)


@dataclass(frozen=True)
class Row:
    correlation: float
    delta: float
    """In points."""
    n_fix: int
    median_samples: float
    p90_samples: float
    mean_calls_over_fixed_n: float
    go: float
    information_limit_over_fixed_n: float | None


@dataclass(frozen=True)
class PeerRow:
    """One method at one correlation."""

    method: str
    correlation: float
    mean_calls_over_fixed_n: float
    """Mean over the true differences."""
    false_go: float
    """Worst over losses of the margin and more."""
    power_at_equality: float


def cells() -> list[Cell]:
    return [Cell(correlation, points / 100) for correlation in CORRELATIONS for points in DELTAS]


def simulate(grid: list[Cell], replications: int) -> tuple[Used, Passed]:
    """Run the product's test in every cell to its verdict.

    Returns:
        Samples used and whether the candidate passed, both of shape (cells, replications).
    """
    random = np.random.default_rng(SEED)
    wins = np.repeat([cell.chances[0] for cell in grid], replications)
    differs = np.repeat([cell.discordance for cell in grid], replications)
    # `worse` may also end a test, but none of thousands of runs had it reach its bound before `futility`.
    test = BatchTest(PLAN, len(wins), ("no_worse", "futility"))
    bounds = np.array([[1 / PLAN.alpha], [1 / PLAN.beta]])
    used, passed = np.full(len(wins), MOST_SAMPLES), np.zeros(len(wins), dtype=bool)
    lanes, open_lanes = np.arange(len(wins)), np.ones(len(wins), dtype=bool)
    while open_lanes.any() and test.samples < MOST_SAMPLES:
        draw = random.random(lanes.size, dtype=np.float32)
        reached = test.update(np.where(draw < wins, 1.0, np.where(draw < differs, -1.0, 0.0))) >= bounds
        stopped = reached.any(axis=0) & open_lanes
        if stopped.any():
            used[lanes[stopped]] = test.samples
            passed[lanes[stopped]] = reached[0, stopped]
            open_lanes &= ~stopped
        if np.count_nonzero(open_lanes) < 0.9 * lanes.size:  # moving the others for every one that ends would cost most
            test.keep(open_lanes)
            lanes, wins, differs = lanes[open_lanes], wins[open_lanes], differs[open_lanes]
            open_lanes = np.ones(lanes.size, dtype=bool)
    shape = (len(grid), replications)
    return used.reshape(shape), passed.reshape(shape)


def information_limit(cell: Cell, go: float) -> float | None:
    """Fewest expected samples of any test with these error rates that decides as often as this one did.

    kl(P(decided) || error rate) / KL_inf(differences, null). None between the two hypotheses, where either is right.
    """
    if cell.delta >= 0.0:
        tie, decided, rate = PLAN.margin, go, PLAN.alpha
    elif cell.delta <= -PLAN.margin:
        tie, decided, rate = 0.0, 1.0 - go, PLAN.beta
    else:
        return None
    win = (cell.discordance + abs(cell.delta)) / 2
    bets = np.linspace(0.0, 0.9999 / (1.0 - tie), 200_001)
    growth = win * np.log1p(bets * (1 + tie)) + (cell.discordance - win) * np.log1p(bets * (tie - 1))
    growth += (1.0 - cell.discordance) * np.log1p(bets * tie)
    return _kl(decided, rate) / float(growth.max())


def _kl(p: float, q: float) -> float:
    terms = ((p, q), (1.0 - p, 1.0 - q))
    return sum(x * math.log(x / y) for x, y in terms if x > 0.0)


def measure(replications: int) -> list[Row]:
    """Simulate the whole grid."""
    grid = cells()
    used, passed = simulate(grid, replications)
    rows: list[Row] = []
    for cell, samples, went in zip(grid, used, passed, strict=True):
        go = float(went.mean())
        limit = information_limit(cell, go)
        rows.append(
            Row(
                correlation=cell.correlation,
                delta=round(cell.delta * 100, 6),
                n_fix=cell.n_fix,
                median_samples=float(np.median(samples)),
                p90_samples=float(np.quantile(samples, 0.9)),
                mean_calls_over_fixed_n=float(samples.mean()) / cell.n_fix,
                go=go,
                information_limit_over_fixed_n=None if limit is None else limit / cell.n_fix,
            )
        )
    return rows


def over_limit(rows: list[Row]) -> float:
    """Calls over the information limit's, in sum over the rows that have one."""
    known = [row for row in rows if row.information_limit_over_fixed_n is not None]
    spent = sum(row.mean_calls_over_fixed_n for row in known)
    return spent / sum(row.information_limit_over_fixed_n or 0.0 for row in known)


Peer = Callable[[Cell, int, np.random.Generator], tuple[Used, Passed]]


def fixed_number(cell: Cell, replications: int, random: np.random.Generator) -> tuple[Used, Passed]:
    """A paired z test at N, nobody looks before."""
    wins, losses, _ = random.multinomial(cell.n_fix, cell.chances, size=replications).T
    return np.full(replications, cell.n_fix), _z(wins, losses, cell.n_fix, PLAN.margin) >= Z_GO


def repeated_looks(cell: Cell, replications: int, random: np.random.Generator) -> tuple[Used, Passed]:
    """The same test, but somebody looks every 50 samples and stops at the first that says go, up to N."""
    return _looking(cell, replications, random, LOOK_EVERY, LOOK_EVERY, cell.n_fix, _peek)


def wald(cell: Cell, replications: int, random: np.random.Generator) -> tuple[Used, Passed]:
    """Wald's sequential probability ratio test for a normal mean, with the variance seen so far, from 50 samples on."""
    return _looking(cell, replications, random, SPRT_EVERY, SPRT_FROM, 40 * cell.n_fix, _ratio)


PEERS: dict[str, Peer] = {"fixed N": fixed_number, "repeated looks": repeated_looks, "SPRT": wald}


def measure_peers(replications: int) -> list[PeerRow]:
    """Run each peer over the same grid."""
    random = np.random.default_rng(SEED)
    rows: list[PeerRow] = []
    for method, run in PEERS.items():
        for correlation in CORRELATIONS:
            grid = [cell for cell in cells() if cell.correlation == correlation]
            found = [(cell, *run(cell, replications, random)) for cell in grid]
            rows.append(
                PeerRow(
                    method=method,
                    correlation=correlation,
                    mean_calls_over_fixed_n=fmean(float(used.mean()) / cell.n_fix for cell, used, _ in found),
                    false_go=max(float(went.mean()) for cell, _, went in found if cell.delta <= -PLAN.margin),
                    power_at_equality=next(float(went.mean()) for cell, _, went in found if cell.delta == 0.0),
                )
            )
    return rows


Decision = Callable[[NDArray[np.int64], NDArray[np.int64], int], tuple[Passed, Passed]]
"""Counts of wins and losses among so many samples, to: go, no go."""


def _peek(wins: NDArray[np.int64], losses: NDArray[np.int64], samples: int) -> tuple[Passed, Passed]:
    return _z(wins, losses, samples, PLAN.margin) >= Z_GO, np.zeros(len(wins), dtype=bool)


def _ratio(wins: NDArray[np.int64], losses: NDArray[np.int64], samples: int) -> tuple[Passed, Passed]:
    mean = (wins - losses) / samples
    variance = np.maximum((wins + losses) / samples - mean**2, 1.0 / samples)
    log_ratio = PLAN.margin * samples * (mean + PLAN.margin / 2) / variance
    up, down = math.log((1 - PLAN.beta) / PLAN.alpha), math.log(PLAN.beta / (1 - PLAN.alpha))
    return log_ratio >= up, log_ratio <= down


def _z(wins: NDArray[np.int64], losses: NDArray[np.int64], samples: int, shift: float) -> NDArray[np.float64]:
    mean = (wins - losses) / samples
    variance = np.maximum((wins + losses) / samples - mean**2, 1.0 / samples)  # never 0: one discordant at least
    return (mean + shift) * np.sqrt(samples / variance)


def _looking(
    cell: Cell, replications: int, random: np.random.Generator, every: int, first: int, most: int, decide: Decision
) -> tuple[Used, Passed]:
    used, passed = np.full(replications, most), np.zeros(replications, dtype=bool)
    lanes = np.arange(replications)
    wins, losses = np.zeros(replications, dtype=np.int64), np.zeros(replications, dtype=np.int64)
    samples = 0
    while samples < most and lanes.size:
        step = min(every if samples else first, most - samples)
        samples += step
        more = random.multinomial(step, cell.chances, size=lanes.size)
        wins, losses = wins + more[:, 0], losses + more[:, 1]
        go, no_go = decide(wins, losses, samples)
        stopped = go | no_go
        used[lanes[stopped]], passed[lanes[stopped]] = samples, go[stopped]
        lanes, wins, losses = lanes[~stopped], wins[~stopped], losses[~stopped]
    return used, passed

"""How many candidate calls the sequential test spends, beside a fixed number and beside the information limit.

    python -m benchmarks.evidence [--quick] [--json FILE]

Simulated pairs of models: the incumbent is right on 80 % of the samples, the two models' answers correlate by .3, .6
or .9 where they are equal, and the margin is 2 points. A true difference comes on top of the discordance of equal
models (the better one gains samples, the worse one gains none back). `--quick` runs fewer replications, under a minute.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from changeover.evals.sequential import BatchTest, TestPlan, fixed_n

CORRELATIONS = (0.3, 0.6, 0.9)
DELTAS = tuple(range(-5, 6))
"""True differences in points."""
ACCURACY = 0.8
PLAN = TestPlan(margin=0.02)
QUICK_REPLICATIONS, FULL_REPLICATIONS = 1_500, 10_000
MOST_SAMPLES = 80 * 4796
"""Far beyond what any replication needs; a backstop, not a budget."""
SEED = 20_26
ASKED = {0.3: 0.36, 0.6: 0.38, 0.9: 0.55}
"""Mean candidate calls over fixed N that the test is built to stay within."""


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


def simulate(cells: list[Cell], replications: int) -> tuple[np.ndarray, np.ndarray]:
    """Run every cell to its verdict.

    Returns:
        Samples used and whether the candidate passed, both of shape (cells, replications).
    """
    random = np.random.default_rng(SEED)
    wins = np.repeat([(cell.discordance + cell.delta) / 2 for cell in cells], replications)
    differs = np.repeat([cell.discordance for cell in cells], replications)
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
    shape = (len(cells), replications)
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
    cells = [Cell(correlation, points / 100) for correlation in CORRELATIONS for points in DELTAS]
    used, passed = simulate(cells, replications)
    rows: list[Row] = []
    for cell, samples, went in zip(cells, used, passed, strict=True):
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


def summarise(rows: list[Row], replications: int, seconds: float) -> dict[str, object]:
    """What `--json` writes."""
    calls = {str(c): _mean([r.mean_calls_over_fixed_n for r in rows if r.correlation == c]) for c in CORRELATIONS}
    over_limit = {str(c): _over_limit([r for r in rows if r.correlation == c]) for c in CORRELATIONS}
    return {
        "margin": PLAN.margin,
        "alpha": PLAN.alpha,
        "beta": PLAN.beta,
        "replications": replications,
        "seconds": round(seconds, 2),
        "grid": [asdict(row) for row in rows],
        "mean_calls_over_fixed_n": calls,
        "calls_over_information_limit": over_limit,
        "false_go": max(row.go for row in rows if row.delta <= -100 * PLAN.margin),
        "power_at_equality": min(row.go for row in rows if row.delta == 0),
    }


def _over_limit(rows: list[Row]) -> float:
    known = [row for row in rows if row.information_limit_over_fixed_n is not None]
    spent = sum(row.mean_calls_over_fixed_n for row in known)
    return spent / sum(row.information_limit_over_fixed_n or 0.0 for row in known)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def show(report: dict[str, object], rows: list[Row]) -> None:
    """Print the grid, then one line for each promise."""
    print(
        f"Calls of the candidate beside a fixed N, margin {PLAN.margin * 100:g} points, {report['replications']} runs\n"
    )
    print("  corr  delta   fixed N   median      p90   mean/fixed   limit/fixed     GO")
    for row in rows:
        limit = row.information_limit_over_fixed_n
        shown = f"{'n/a':>11}" if limit is None else f"{limit:11.2f}"
        print(
            f"  {row.correlation:4.1f}  {row.delta:+5.0f}  {row.n_fix:8,d}  {row.median_samples:7,.0f}  "
            f"{row.p90_samples:7,.0f}  {row.mean_calls_over_fixed_n:11.2f}  {shown}  {row.go:5.3f}"
        )
    calls, over = report["mean_calls_over_fixed_n"], report["calls_over_information_limit"]
    assert isinstance(calls, dict)
    assert isinstance(over, dict)
    print()
    for correlation, asked in ASKED.items():
        key = str(correlation)
        print(f"  corr {key}   calls {calls[key]:.3f} of fixed N (asked {asked})   {over[key]:.2f} x information limit")
    print(
        f"  false GO {report['false_go']:.3f} at worst (asked 0.05)   power {report['power_at_equality']:.3f} (asked 0.90)"
    )
    print(f"  {report['seconds']} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer replications, under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    replications = QUICK_REPLICATIONS if options.quick else FULL_REPLICATIONS
    started = time.perf_counter()
    rows = measure(replications)
    report = summarise(rows, replications, time.perf_counter() - started)
    show(report, rows)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

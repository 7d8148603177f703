"""What evidence costs: the product's tests beside a fixed number, peers and the information limit.

    python -m benchmarks.evidence [--quick] [--json FILE]

Three parts: a grid of simulated pairs of models, where the truth is known; real predictions on Banking77, fetched with
pip and left out where that fails; and cached scores of earlier models as covariates, on simulated and on real items.
`--quick` runs fewer replications, under a minute on an idle core.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from statistics import fmean

from benchmarks.evidence import banking77, grid, pools
from benchmarks.evidence.replays import Summary
from benchmarks.promises import Target, at_least, at_most, command, noise
from changeover.core.errors import ChangeoverError

CALLS_ASKED = {0.3: 0.36, 0.6: 0.38, 0.9: 0.55}
"""Mean candidate calls over fixed N that the test is built to stay within."""
LIMIT_ASKED, FALSE_GO_ASKED, POWER_ASKED, COVARIATES_ASKED = 1.25, 0.05, 0.90, 0.30
SIMULATED_ITEMS = 4_000


@dataclass(frozen=True)
class Amounts:
    """Replications of each part."""

    grid: int
    peers: int
    banking77: int
    pools: pools.Amount


QUICK = Amounts(grid=800, peers=400, banking77=50, pools=pools.Amount(pairs=24, orders=1, forced=24))
FULL = Amounts(grid=10_000, peers=4_000, banking77=500, pools=pools.Amount(pairs=60, orders=2, forced=160))


def run(amounts: Amounts, *, real: bool = True) -> dict[str, object]:
    """Everything that `--json` writes. `real` False leaves out what must be fetched."""
    started = time.perf_counter()
    rows, peers = grid.measure(amounts.grid), grid.measure_peers(amounts.peers)
    shipped: list[Summary] = []
    covered: list[Summary] = []
    why = "not asked for"
    if real:
        try:
            texts, labels, right = banking77.read(banking77.fetch())
        except (banking77.Unavailable, OSError, ChangeoverError) as exc:
            why = str(exc)
        else:
            why = ""
            shipped = banking77.measure(right, amounts.banking77)
            covered = pools.measure(
                "Banking77, real", banking77.with_tiny_classifiers(texts, labels, right), amounts.pools
            )
    for items in (pools.RECORDED_ITEMS, SIMULATED_ITEMS):
        scores = pools.simulated_scores(items)
        name = f"simulated, {items} items"
        covered += pools.measure(name, scores, amounts.pools, with_population=items == SIMULATED_ITEMS)
    return {
        "margin": grid.PLAN.margin,
        "alpha": grid.PLAN.alpha,
        "beta": grid.PLAN.beta,
        "replications": asdict(amounts),
        "seconds": round(time.perf_counter() - started, 1),
        "grid": [asdict(row) for row in rows],
        "peers": [asdict(row) for row in peers],
        "mean_calls_over_fixed_n": {str(c): _calls(rows, c) for c in grid.CORRELATIONS},
        "calls_over_information_limit": {
            str(c): grid.over_limit([row for row in rows if row.correlation == c]) for c in grid.CORRELATIONS
        },
        "false_go": max(row.go for row in rows if row.delta <= -100 * grid.PLAN.margin),
        "power_at_equality": min(row.go for row in rows if row.delta == 0),
        "banking77": {"skipped": why or None, "rows": [asdict(row) for row in shipped]},
        "covariates": [asdict(row) for row in covered],
        "targets": [asdict(target) for target in targets(rows, covered, amounts)],
    }


def targets(rows: list[grid.Row], covered: list[Summary], amounts: Amounts) -> list[Target]:
    """Each promise, held against what was measured."""
    found: list[Target] = []
    for correlation, asked in CALLS_ASKED.items():
        some = [row for row in rows if row.correlation == correlation]
        # The spread of a test's length is about its mean, so that is what the mean over the cells is unsure by.
        unsure = 3.0 * math.hypot(*(row.mean_calls_over_fixed_n for row in some)) / len(some) / math.sqrt(amounts.grid)
        calls, over = _calls(rows, correlation), grid.over_limit(some)
        found.append(at_most(f"calls over fixed N, correlation {correlation}", asked, calls, unsure))
        name = f"calls over information limit, correlation {correlation}"
        found.append(at_most(name, LIMIT_ASKED, over, over * unsure / calls))
    false_go = max(row.go for row in rows if row.delta <= -100 * grid.PLAN.margin)
    power = min(row.go for row in rows if row.delta == 0)
    found.append(at_most("false go, worst", FALSE_GO_ASKED, false_go, noise(FALSE_GO_ASKED, amounts.grid)))
    found.append(at_least("power at equality", POWER_ASKED, power, noise(POWER_ASKED, amounts.grid)))
    for row in covered:
        # The plain test is the baseline, and a plan that may end early trades power for calls.
        if not row.test.startswith("dataset") or "models" not in row.test:
            continue
        if row.pairs == "as they are":
            found.append(
                at_most(
                    f"calls over fixed N, {row.test}, {row.data}", COVARIATES_ASKED, row.mean_calls_over_fixed_n, 0.0
                )
            )
        elif row.pairs == "null":
            found.append(
                at_most(f"false go, {row.test}, {row.data}", FALSE_GO_ASKED, row.go, noise(FALSE_GO_ASKED, row.runs))
            )
        else:
            found.append(
                at_least(
                    f"power at equality, {row.test}, {row.data}", POWER_ASKED, row.go, noise(POWER_ASKED, row.runs)
                )
            )
    return found


def _calls(rows: list[grid.Row], correlation: float) -> float:
    return fmean(row.mean_calls_over_fixed_n for row in rows if row.correlation == correlation)


def show(report: dict[str, object]) -> None:
    """Print the tables, then one line for each promise."""
    print(f"Calls of the candidate beside a fixed N, margin {grid.PLAN.margin * 100:g} points, simulated pairs\n")
    print("  corr  delta   fixed N   median      p90   mean/fixed   limit/fixed     GO")
    for row in _rows(report["grid"]):
        limit = row["information_limit_over_fixed_n"]
        shown = f"{'n/a':>11}" if limit is None else f"{limit:11.2f}"
        print(
            f"  {row['correlation']:4.1f}  {row['delta']:+5.0f}  {row['n_fix']:8,d}  {row['median_samples']:7,.0f}  "
            f"{row['p90_samples']:7,.0f}  {row['mean_calls_over_fixed_n']:11.2f}  {shown}  {row['go']:5.3f}"
        )
    print("\n  peers on the same grid    corr  mean/fixed  false GO  power")
    for row in _rows(report["peers"]):
        print(
            f"  {row['method']:24s}  {row['correlation']:4.1f}  {row['mean_calls_over_fixed_n']:10.2f}  "
            f"{row['false_go']:8.3f}  {row['power_at_equality']:5.3f}"
        )
    shipped = report["banking77"]
    assert isinstance(shipped, dict)
    print("\n  Banking77 is left out: " + shipped["skipped"] if shipped["skipped"] else "")
    print(
        "  data, test, pairs                                                       mean/fixed  (pool)     GO  no GO  open"
    )
    for row in [*_rows(shipped["rows"]), *_rows(report["covariates"])]:
        what = f"{row['data']}, {row['test']}, {row['pairs']}"
        print(
            f"  {what:72s}  {row['mean_calls_over_fixed_n']:8.3f}  {row['mean_calls_over_fixed_n_of_pool']:6.3f}  "
            f"{row['go']:5.3f}  {row['no_go']:5.3f}  {row['undecided']:4.2f}"
        )
    print()
    for row in _rows(report["targets"]):
        forgiven = f" ± {row['allowance']:.3f}" if row["allowance"] else ""
        print(
            f"  {'met    ' if row['met'] else 'NOT MET'}  {row['name']}: {row['measured']:.3f} (asked {row['asked']}{forgiven})"
        )
    print(f"\n  {report['seconds']} s")


def _rows(value: object) -> list[dict[str, float]]:
    assert isinstance(value, list)
    return value


def main() -> None:
    command(__doc__, lambda quick: run(QUICK if quick else FULL), show)


if __name__ == "__main__":
    main()

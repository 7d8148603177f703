"""What rollouts get wrong, and how soon they notice: thousands of simulated ones through `decide` and `Guards`.

    python -m benchmarks.rollouts [--quick] [--json FILE]

Three parts: a bundle against itself, where every alarm is a false one, with the evaluation before it and the drift
detectors after it; bad candidates, to the rollback, beside the information limit; and a z test that is looked at every
50 requests, on the same streams. `--quick` runs fewer, under a minute on an idle core.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from benchmarks.promises import Target, at_most, command, noise
from benchmarks.rollouts import faults, same

DRIFT_ASKED = {0.06: 352, 0.10: 124, 0.20: 48}
"""Median requests to notice that a promoted candidate fails more often than 3 %."""
SHORT_RUN = 500
"""`drift_requests` for which the mean time to a false alarm is measured in quick runs too."""


@dataclass(frozen=True)
class Amounts:
    """Replications of each part."""

    same: int
    evaluations: int
    faults: int
    drifts: int
    single: int
    short_runs: int
    long_runs: int


QUICK = Amounts(same=150, evaluations=400, faults=40, drifts=40, single=400, short_runs=100, long_runs=0)
FULL = Amounts(same=2_000, evaluations=10_000, faults=500, drifts=500, single=4_000, short_runs=500, long_runs=50)


@dataclass(frozen=True)
class RunLength:
    """Mean number of requests to a false alarm after the promotion."""

    drift_requests: int
    runs: int
    mean: float
    capped_at: int
    """Runs without an alarm count as so many: the true mean is larger."""


def run(amounts: Amounts) -> dict[str, object]:
    """Everything that `--json` writes."""
    started = time.perf_counter()
    rows, evaluated = same.measure(amounts.same), same.evaluate(amounts.evaluations)
    found = [faults.to_rollback(name, world, amounts.faults) for name, world in faults.CANARY_FAULTS]
    for rate in faults.RATES:
        found += [faults.one_guard(rate, amounts.single), faults.naive(rate, amounts.single)[0]]
    drifts = [each for rate in DRIFT_ASKED for each in faults.to_drift_alarm(rate, amounts.drifts)]
    lengths = [_run_length(SHORT_RUN, amounts.short_runs, 100 * SHORT_RUN)]
    if amounts.long_runs:
        lengths.append(_run_length(faults.PLAN.drift_requests, amounts.long_runs, 5 * faults.PLAN.drift_requests))
    _, naive = faults.naive(faults.PLAN.tolerated_failures, amounts.single, most=5_000)
    moved = same.moved_without_traffic()
    return {
        "replications": asdict(amounts),
        "seconds": round(time.perf_counter() - started, 1),
        "same": [asdict(row) for row in rows],
        "moved_without_traffic": moved,
        "evaluations": [asdict(row) for row in evaluated],
        "run_lengths": [asdict(each) for each in lengths],
        "faults": [asdict(each) for each in found],
        "drifts": [asdict(each) for each in drifts],
        "z_test_false_alarms_in_5000": naive,
        "targets": [
            asdict(target)
            for target in [
                Target("rollouts that went on without a request", 0.0, moved, 0.0, moved == 0),
                *targets(rows, evaluated, amounts),
                *_drift_targets(lengths, drifts),
            ]
        ],
    }


def targets(rows: list[same.Row], evaluated: list[same.Evaluated], amounts: Amounts) -> list[Target]:
    """The promises about a bundle against itself, held against what was measured."""
    alpha, found = faults.PLAN.alpha, list[Target]()
    for row in rows:
        if not row.promised:
            continue
        found.append(at_most(f"false alarms, {row.scenario}", alpha, row.alarms, noise(alpha, row.runs)))
        if row.alarms_baking is not None and row.allowed_baking is not None:
            unsure = noise(row.allowed_baking, row.runs)
            found.append(at_most(f"false alarms baking, {row.scenario}", row.allowed_baking, row.alarms_baking, unsure))
        rest = 1.0 - row.alarms - row.promoted
        found.append(at_most(f"neither promoted nor taken out, {row.scenario}", 0.0, rest, 1e-9))
    passed = max(row.passed for row in evaluated if row.pair == "worse by the margin")
    failed = max(row.failed for row in evaluated if row.pair == "against itself")
    found.append(
        at_most(
            "evaluation: a candidate worse by the margin passes, worst", 0.05, passed, noise(0.05, amounts.evaluations)
        )
    )
    found.append(
        at_most("evaluation: a bundle against itself fails, worst", 0.10, failed, noise(0.10, amounts.evaluations))
    )
    return found


def _drift_targets(lengths: list[RunLength], drifts: list[faults.Found]) -> Iterable[Target]:
    for each in lengths:
        name = f"mean requests to a false alarm after the promotion, {each.drift_requests:,d} declared"
        yield Target(name, each.drift_requests, each.mean, 0.0, each.mean >= each.drift_requests)
    for each in drifts:
        asked = next(value for rate, value in DRIFT_ASKED.items() if each.fault.startswith(f"{100 * rate:.0f} %"))
        yield at_most(f"median requests to notice, {each.fault}, {each.method}", asked, each.median, 0.0)


def _run_length(drift_requests: int, runs: int, most: int) -> RunLength:
    return RunLength(drift_requests, runs, faults.false_alarm_after(drift_requests, runs, most), most)


def show(report: dict[str, object]) -> None:
    """Print the tables, then one line for each promise."""
    print("A bundle against itself, through shadow and canary: every alarm is a false one\n")
    print(
        "  scenario                                          runs   alarms  promoted  requests   baking: alarms  at most"
    )
    for row in _rows(report["same"]):
        baking = "" if row["alarms_baking"] is None else f"{row['alarms_baking']:14.4f}  {row['allowed_baking']:7.4f}"
        beyond = "" if row["promised"] else "  (not promised)"
        print(
            f"  {row['scenario']:46s}  {row['runs']:6,d}  {row['alarms']:7.4f}  {row['promoted']:8.4f}  "
            f"{row['asked']:8,.0f}   {baking}{beyond}"
        )
    print(
        "\n  its evaluation by the tier's gate, 400 samples   scores differ    pass    fail  undecided  median samples"
    )
    for row in _rows(report["evaluations"]):
        print(
            f"  {row['tier'] + ' tier, ' + str(row['pair']):46s}  {row['discordance']:13.0%}  {row['passed']:6.3f}  "
            f"{row['failed']:6.3f}  {row['inconclusive']:9.3f}  {row['median_samples']:14,.0f}"
        )
    print(
        "\n  a bad candidate: events to the alarm             method               median       p90    limit  noticed"
    )
    for row in (*_rows(report["faults"]), *_rows(report["drifts"])):
        limit = "–" if row["limit"] is None else f"{row['limit']:.0f}"
        print(
            f"  {row['fault']:47s}  {row['method']:18s}  {row['median']:7,.0f}  {row['p90']:8,.0f}  {limit:>7s}  "
            f"{row['found']:7.3f}"
        )
    print(
        f"\n  z test every 50 requests: false alarms within 5,000 at the tolerated rate "
        f"{report['z_test_false_alarms_in_5000']:.3f}\n"
    )
    for row in _rows(report["targets"]):
        forgiven = f" ± {row['allowance']:.4f}" if row["allowance"] > 1e-6 else ""
        print(
            f"  {'met    ' if row['met'] else 'NOT MET'}  {row['name']}: {row['measured']:,.5g} "
            f"(asked {row['asked']:,.5g}{forgiven})"
        )
    print(f"\n  {report['seconds']} s")


def _rows(value: object) -> list[dict[str, float]]:
    assert isinstance(value, list)
    return value


def main() -> None:
    command(__doc__, lambda quick: run(QUICK if quick else FULL), show)


if __name__ == "__main__":
    main()

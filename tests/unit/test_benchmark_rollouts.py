"""The rollout benchmark runs, says what it promises to say, and can tell a promise that is not met."""

from __future__ import annotations

import json
import math

import pytest
from benchmarks.rollouts import __main__ as command
from benchmarks.rollouts import faults, same
from benchmarks.rollouts.world import Faults, Simulation, World, endless, promoted_without_traffic, tier_plan

from changeover.rollouts.decide import Step

TINY = command.Amounts(same=2, evaluations=40, faults=2, drifts=2, single=40, short_runs=2, long_runs=0)


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    return json.loads(json.dumps(command.run(TINY)))


def _rows(report: dict[str, object], name: str) -> list[dict[str, float]]:
    rows = report[name]
    assert isinstance(rows, list)
    return rows


def test_the_report_has_a_row_for_each_scenario_fault_and_method(report: dict[str, object]) -> None:
    assert [row["scenario"] for row in _rows(report, "same")] == [scenario.name for scenario in same.SCENARIOS]
    assert all(row["alarms"] + row["promoted"] == pytest.approx(1.0) for row in _rows(report, "same"))
    assert report["moved_without_traffic"] == 0
    evaluated = _rows(report, "evaluations")
    assert len(evaluated) == 3 * 3 * 2
    assert all(row["passed"] + row["failed"] + row["inconclusive"] == pytest.approx(1.0) for row in evaluated)
    assert {row["method"] for row in _rows(report, "faults")} == {"all guards", "one guard alone", "z test every 50"}
    assert {row["method"] for row in _rows(report, "drifts")} == {"all guards", "one detector alone"}
    assert len(_rows(report, "faults")) == len(faults.CANARY_FAULTS) + 2 * len(faults.RATES)


def test_the_tables_can_be_printed(report: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    command.show(report)
    printed = capsys.readouterr().out
    assert "low tier, usual" in printed
    assert "rollouts that went on without a request: 0 (asked 0)" in printed


def test_each_promise_is_held_against_what_was_measured() -> None:
    bad = same.Row("some", 1_000_000, 0.02, 0.97, 90.0, 0.05, 0.03, promised=True)
    beyond = same.Row("other", 10, 1.0, 0.0, 90.0, None, None, promised=False)
    rows = [
        same.Evaluated("low", "against itself", 0.1, 0.8, 0.2, 0.0, 100.0),
        same.Evaluated("low", "worse by the margin", 0.1, 0.2, 0.8, 0.0, 100.0),
    ]
    found = command.targets([bad, beyond], rows, command.FULL)
    assert [target.met for target in found] == [False] * 5
    assert not any("other" in target.name for target in found)
    good = same.Row("some", 1_000, 0.0, 1.0, 90.0, 0.0, 0.03, promised=True)
    assert all(target.met for target in command.targets([good], rows, command.FULL)[:3])


def test_a_rollout_without_requests_goes_on_to_nothing_and_one_with_them_is_promoted_and_ends() -> None:
    plan = tier_plan("low")
    assert not promoted_without_traffic(plan)
    ended = Simulation(plan, World(), 1).run(100_000)
    assert (ended.state, ended.promoted) == ("done", True)
    assert ended.asked - ended.baked >= sum(step.requests for step in plan.steps)


def test_a_broken_candidate_is_rolled_back_and_its_requests_are_counted() -> None:
    ended = Simulation(endless(1000), World(candidate=Faults(failed=1.0)), 1).run(10_000)
    assert (ended.state, ended.at, ended.promoted) == ("rolled_back", "canary", False)
    assert ended.asked <= 4
    assert endless(1000).steps == (Step(canary=0.25, requests=1000, hold_s=0.0),)


def test_the_same_seed_gives_the_same_rollout() -> None:
    plan, world = tier_plan("low"), World(tails="pareto", machine="jumps", times=3.0)
    assert Simulation(plan, world, 3).run(50_000) == Simulation(plan, world, 3).run(50_000)


def test_the_information_limit_is_the_known_one_and_there_is_none_for_what_is_tolerated() -> None:
    limits = [faults.limit(rate, 0.03, 100.0) for rate in (0.06, 0.10, 0.20)]
    assert [round(limit or 0) for limit in limits] == [382, 87, 20]
    assert faults.limit(0.03, 0.03, 100.0) is None
    assert faults.limit(1.0, 0.1, 100.0) == pytest.approx(math.log(100) / math.log(10))


def test_looking_again_at_a_z_test_raises_false_alarms() -> None:
    _, share = faults.naive(0.03, 600, most=5_000)
    assert share > 0.05

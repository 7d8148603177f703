"""The gateway benchmark reads its load generator right, and makes medians, ratios and verdicts as it says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from benchmarks.gateway import measure
from benchmarks.gateway.load import (
    BODY_BYTES,
    CHUNKS,
    KINDS,
    PACE_MS,
    Demand,
    Kind,
    Loader,
    LoadError,
    Target,
    body,
    failures,
    parsed,
    upstream,
)
from benchmarks.gateway.measure import DIRECT, Figures, Measured
from benchmarks.gateway.native import compiled
from benchmarks.gateway.process import Cores
from benchmarks.gateway.profiling import shares
from benchmarks.gateway.report import cpu_ratios, lines, ratios, summarise, table, targets
from benchmarks.gateway.soak import verdict

FIGURES: Figures = {
    "rps_1": 10_000.0,
    "rps_64": 80_000.0,
    "rps_256": 80_000.0,
    "p50_1_ms": 0.1,
    "p99_1_ms": 0.2,
    "p50_at_100_ms": 0.2,
    "p99_at_100_ms": 0.4,
    "p50_at_40_ms": 0.3,
    "p99_at_40_ms": 0.5,
    "paced_first_p50_ms": 20.0,
    "paced_first_p99_ms": 22.0,
    "paced_gap_p99_ms": 20.0,
    "paced_lost_chunks": 0.0,
    "failed": 0.0,
}


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loader, Target]]:
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler here")
    directory = tmp_path_factory.mktemp("load")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHANGEOVER_CACHE", str(directory / "cache"))
        programs = compiled()
    core = min(os.sched_getaffinity(0))
    cores = Cores(gateway=core, load=core)
    with upstream(programs, cores, directory / "upstream") as port:
        yield Loader(programs, cores, directory), Target(port=port)


@pytest.mark.parametrize("kind", KINDS)
def test_bodies_are_of_one_size_and_say_what_they_want(kind: Kind) -> None:
    made = body("mock", kind)
    asked = json.loads(made)
    assert len(made) == BODY_BYTES
    assert asked.get("stream", False) == (kind != "plain")
    assert (f"delay={PACE_MS};" in asked["messages"][1]["content"]) == (kind == "paced")


def test_a_closed_load_is_answered_checked_and_measured(loader: tuple[Loader, Target]) -> None:
    load, target = loader
    said = load.run(target, Demand(mode="closed", connections=4, warm=10, run=400))
    latency = said["latency_ms"]
    assert failures(said) == 0
    assert 0 < said["requests"] <= said["total"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_an_open_load_asks_as_often_as_it_was_told(loader: tuple[Loader, Target]) -> None:
    load, target = loader
    said = load.run(target, Demand(mode="open", connections=4, warm=0, run=300, rate=100))
    assert (said["requests"], failures(said)) == (30, 0)


def test_every_chunk_of_a_stream_is_seen_in_its_order(loader: tuple[Loader, Target]) -> None:
    load, target = loader
    said = load.run(target, Demand(mode="streams", kind="stream", connections=3, warm=0, run=50))
    assert failures(said) == 0
    assert said["streams"] >= 3
    assert said["all_chunks"] == CHUNKS * said["streams"]
    assert said["with_usage"] == said["streams"]


def test_paced_chunks_come_apart(loader: tuple[Loader, Target]) -> None:
    load, target = loader
    said = load.run(target, Demand(mode="streams", kind="paced", connections=2, warm=0, run=1))
    assert (said["streams"], failures(said)) == (2, 0)
    assert said["gap_ms"]["count"] == 2 * (CHUNKS - 1)
    assert said["first_chunk_ms"]["p50"] >= PACE_MS


def test_a_wrong_answer_is_an_error(loader: tuple[Loader, Target]) -> None:
    load, target = loader
    nowhere = Target(port=target.port, model="nowhere", path="/nowhere")
    said = load.run(nowhere, Demand(mode="closed", connections=1, warm=0, run=20))
    assert said["requests"] == 0
    assert said["errors"]["status"] == said["total"] > 0
    assert "no such path" in said["first_error"]


def test_what_nobody_listens_to_is_an_error_with_its_reason(loader: tuple[Loader, Target]) -> None:
    load, _ = loader
    with pytest.raises(LoadError, match="connect"):
        load.run(Target(port=1), Demand(mode="closed", connections=1, warm=0, run=20))


@pytest.mark.parametrize("out", ["", "nonsense", "[]", "{}"])
def test_a_load_generator_that_says_nothing_useful_is_an_error(out: str) -> None:
    with pytest.raises(LoadError, match="printed"):
        parsed(out)


def _summary() -> dict[str, Any]:
    direct, ours, slow = Measured("direct"), Measured("ours 1"), Measured("slow 1")
    for number, rps in enumerate((10_000.0, 14_000.0, 12_000.0), start=1):
        direct.rounds[number] = {**FIGURES, "p50_1_ms": 0.1 * number}
        ours.rounds[number] = {**FIGURES, "rps_64": rps, "p50_1_ms": 0.1 * number + 0.25}
    slow.rounds[2] = {**FIGURES, "rps_64": 100.0, "p50_at_40_ms": 8.3}
    return summarise({DIRECT: direct, "litellm": slow, "changeover": ours})


def test_figures_are_medians_with_their_spread_and_differences_are_within_a_round() -> None:
    summary = _summary()
    gateways = summary["gateways"]
    ours = gateways["changeover"]
    assert ours["median"]["rps_64"] == 12_000.0
    assert ours["spread"]["rps_64"] == [10_000.0, 14_000.0]
    assert summary["added_p50_ms"] == pytest.approx(0.25)
    assert gateways["litellm"]["median"]["added_p50_at_rate_ms"] == pytest.approx(8.0)
    assert gateways["litellm"]["rounds"] == 1


def test_ratios_are_ours_over_the_best_of_theirs_and_absent_where_a_peer_is() -> None:
    def row(rps: float) -> dict[str, object]:
        return {"median": {"rps_64": rps}}

    found = ratios({"changeover": row(12_000.0), "litellm": row(100.0), "litellm_granian": row(120.0)})
    assert found["litellm"] == 100.0
    assert found["envoy"] is None
    assert set(found) == {"litellm", "tensorzero", "vllm_router", "envoy", "nginx"}


def test_processor_time_is_compared_with_the_least_of_theirs() -> None:
    def row(cpu: float | None) -> dict[str, object]:
        return {"median": {"cpu_ms_per_request": cpu}}

    found = cpu_ratios({"changeover": row(0.1), "litellm": row(9.0), "litellm_granian": row(8.0), "envoy": row(None)})
    assert found["litellm"] == pytest.approx(80.0)
    assert found["envoy"] is None


def test_the_report_is_json_and_its_table_has_a_row_for_each() -> None:
    summary = _summary()
    json.dumps(summary, allow_nan=False)
    rows = table(summary).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| direct", "| slow 1", "| ours 1"]
    assert len({row.count("|") for row in rows}) == 1
    assert any("× litellm 120.00" in line for line in lines(summary))


def test_a_target_is_met_from_the_right_side() -> None:
    found = {
        each["target"]: each["met"] for each in targets({"ratio_envoy": 0.7, "added_p50_ms": 0.31, "start_s": None})
    }
    assert found == {"× Envoy": True, "ms added p50 at 1 connection": False}


def test_a_figure_without_answers_is_none_and_not_infinite() -> None:
    direct, ours = Measured("direct", {1: FIGURES}), Measured("ours", {1: {**FIGURES, "p50_1_ms": float("inf")}})
    assert summarise({DIRECT: direct, "changeover": ours})["added_p50_ms"] is None


def test_slow_gateways_get_the_time_for_whole_batches() -> None:
    assert measure.QUICK.patient().batch > measure.QUICK.batch
    assert measure.FULL.patient() == measure.FULL


@pytest.mark.parametrize(("growth", "failed", "met"), [(0.5, 0, True), (30.0, 0, False), (0.5, 1, False)])
def test_a_soak_is_met_where_memory_is_flat_and_nothing_failed(growth: float, failed: int, met: bool) -> None:
    samples = [(float(n), 60.0 + growth * n / 100) for n in range(100)]
    assert verdict(50.0, samples, 1000, failed, [])["met"] is met


def test_a_profile_counts_own_time_and_time_with_what_is_called() -> None:
    stacks = ["process 1;run (a.py:1);work (b.py:7) 3", "process 1;run (a.py:2) 1", "nonsense"]
    stacks.append("process 1;run (a.py:1);wait (threading.py:320) 100")
    assert shares(stacks, own=True) == {"work (b.py)": 0.75, "run (a.py)": 0.25}
    assert shares(stacks, own=False) == {"run (a.py)": 1.0, "work (b.py)": 0.75}


def test_cores_are_those_this_process_may_use() -> None:
    cores = Cores.here()
    assert {cores.gateway, cores.load} <= os.sched_getaffinity(0)

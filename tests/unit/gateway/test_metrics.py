"""The page at /metrics: read back with Prometheus' own parser."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from tests.support.exchanges import exchange

from changeover.gateway import metrics as metrics_module
from changeover.gateway.metrics import Levels, Metrics
from changeover.tasks.exchanges import Exchange

ANSWERED = exchange(
    task="summarise",
    deployment="qwen",
    key="key_secret_id",
    stream=True,
    duration_ms=300.0,
    first_chunk_ms=100.0,
    prompt_tokens=20,
    completion_tokens=5,
    team="risk",
    cost_microusd=2_500_000,
)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    _, page = metrics.render()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(
        each
        for (found, given), each in samples(metrics).items()
        if found == name and labels.items() <= dict(given).items()
    )


def test_a_finished_request_is_counted_under_its_task_deployment_side_outcome_and_team() -> None:
    metrics = Metrics()
    metrics.take([ANSWERED, replace(ANSWERED, id="req_2", side="candidate", deployment="gemma")])
    labels = {
        "task": "summarise",
        "team": "risk",
        "outcome": "ok",
        "gen_ai_operation_name": "chat",
        "internal": "false",
    }
    assert value(metrics, "changeover_requests_total", **labels) == 2
    assert value(metrics, "changeover_requests_total", **labels, side="candidate", deployment="gemma") == 1
    assert value(metrics, "changeover_tokens_total", gen_ai_token_type="input") == 40
    assert value(metrics, "changeover_tokens_total", gen_ai_token_type="output", deployment="qwen") == 5
    assert value(metrics, "changeover_cost_usd_total", task="summarise") == 5.0


def test_times_fall_into_the_buckets_of_the_conventions() -> None:
    metrics = Metrics()
    metrics.take([ANSWERED])
    name = "gen_ai_server_request_duration_seconds"
    assert value(metrics, f"{name}_bucket", le="0.16") == 0
    assert value(metrics, f"{name}_bucket", le="0.32") == 1
    assert value(metrics, f"{name}_bucket", le="+Inf") == value(metrics, f"{name}_count") == 1
    assert value(metrics, f"{name}_sum") == pytest.approx(0.3)
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_bucket", le="0.1") == 1
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_bucket", le="0.08") == 0
    # 200 ms for the four tokens after the first one.
    assert value(metrics, "gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.05)
    assert value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="input", le="64.0") == 1
    assert value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="input", le="16.0") == 0


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "ok"),
        ({"status": 400, "error": "invalid_request", "error_source": "gateway"}, "request_error"),
        ({"status": 400, "error": "model_failed", "error_source": "model"}, "model_error"),
        ({"status": 502, "error": "model_failed", "error_source": "model"}, "model_error"),
        ({"status": 503, "error": "not_ready", "error_source": "gateway"}, "gateway_error"),
        ({"status": 502, "truncated": True, "error_source": "model"}, "truncated"),
        ({"abandoned": True}, "abandoned"),
    ],
)
def test_every_end_of_a_request_has_a_word(changes: dict[str, Any], outcome: str) -> None:
    metrics = Metrics()
    metrics.take([replace(ANSWERED, **changes)])
    assert value(metrics, "changeover_requests_total", outcome=outcome) == 1


def test_a_request_without_numbers_is_counted_all_the_same() -> None:
    metrics = Metrics()
    nobody = replace(
        ANSWERED,
        deployment=None,
        side=None,
        team=None,
        first_chunk_ms=None,
        prompt_tokens=None,
        completion_tokens=None,
        cost_microusd=None,
        attempts=0,
        status=503,
    )
    metrics.take([nobody, replace(nobody, attempts=3)])
    assert value(metrics, "changeover_requests_total", deployment="", team="", side="") == 2
    assert value(metrics, "changeover_unpriced_total") == 2
    assert value(metrics, "changeover_retries_total") == 2


def test_a_caller_cannot_make_labels() -> None:
    metrics = Metrics()
    unknown = replace(ANSWERED, revision=None, deployment=None, side=None, variant=None, status=404)
    metrics.take([replace(unknown, task=f"invented-{number}") for number in range(100)])
    metrics.refused(401, "invalid_api_key")
    metrics.refused(401, "invalid_api_key")
    _, page = metrics.render()
    assert b"invented" not in page
    assert value(metrics, "changeover_requests_total", task="other") == 100
    assert value(metrics, "changeover_refused_total", status="401", code="invalid_api_key") == 2


def test_keys_are_no_labels() -> None:
    metrics = Metrics()
    metrics.take([ANSWERED])
    assert b"key_secret_id" not in metrics.render()[1]


def test_the_number_of_combinations_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "MOST_CELLS", 10)
    metrics = Metrics()
    metrics.take([replace(ANSWERED, team=f"team-{number}") for number in range(1000)])
    assert value(metrics, "changeover_requests_total") == 1000
    assert value(metrics, "changeover_requests_total", team="other") == 990
    assert len([name for name, _ in samples(metrics) if name == "changeover_requests_total"]) == 11


def test_levels_are_read_when_somebody_asks() -> None:
    now = Levels()
    metrics = Metrics(lambda: now)
    assert value(metrics, "changeover_in_flight") == 0
    now = Levels(
        in_flight=3,
        records_waiting=4,
        records_without_content=5,
        records_lost=6,
        spans_waiting=8,
        spans_lost=7,
        store_stale=True,
        route_revision=12,
        breakers_open={"qwen": True, "gemma": False},
        ready={"qwen": False, "gemma": True},
    )
    assert value(metrics, "changeover_in_flight") == 3
    assert value(metrics, "changeover_records_waiting") == 4
    assert value(metrics, "changeover_records_without_content_total") == 5
    assert value(metrics, "changeover_records_lost_total") == 6
    assert value(metrics, "changeover_spans_lost_total") == 7
    assert value(metrics, "changeover_spans_waiting") == 8
    assert value(metrics, "changeover_store_stale") == 1
    assert value(metrics, "changeover_route_revision") == 12
    assert value(metrics, "changeover_breaker_open", deployment="qwen") == 1
    assert value(metrics, "changeover_engine_ready", deployment="gemma") == 1
    assert value(metrics, "changeover_engine_ready", deployment="qwen") == 0


def test_the_page_is_also_openmetrics_for_who_asks_for_it() -> None:
    metrics = Metrics()
    metrics.take([ANSWERED])
    content_type, page = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(page.decode())} >= {"changeover_requests"}
    assert metrics.render()[0].startswith("text/plain")


def test_any_worker_answers_for_all(tmp_path: Path) -> None:
    levels = Levels(in_flight=1, route_revision=5, ready={"qwen": True})
    behind = Levels(in_flight=1, route_revision=4, store_stale=True, ready={"qwen": True})
    first = Metrics(lambda: levels, directory=tmp_path, writer="a")
    second = Metrics(lambda: behind, directory=tmp_path, writer="b")
    first.take([ANSWERED])
    first.refused(401, "invalid_api_key")
    second.take([ANSWERED, replace(ANSWERED, task="code")])
    second.refused(401, "invalid_api_key")
    first.skipped("summarise", "at_once")
    second.skipped("summarise", "at_once")
    second.skipped("summarise", "engine_busy")
    for worker in (first, second):
        worker.publish()
    for worker in (first, second):
        assert value(worker, "changeover_workers") == 2
        assert value(worker, "changeover_requests_total") == 3
        assert value(worker, "changeover_requests_total", task="summarise") == 2
        assert value(worker, "changeover_refused_total") == 2
        assert value(worker, "changeover_shadow_skipped_total", task="summarise", reason="at_once") == 2
        assert value(worker, "changeover_shadow_skipped_total") == 3
        assert value(worker, "changeover_in_flight") == 2
        assert value(worker, "changeover_route_revision") == 4
        assert value(worker, "changeover_store_stale") == 1
        assert value(worker, "gen_ai_server_request_duration_seconds_count") == 3


def test_what_a_worker_counted_stays_when_it_is_gone_and_its_levels_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = Levels(in_flight=1, records_lost=2)
    gone = Metrics(lambda: levels, directory=tmp_path, writer="gone")
    gone.take([ANSWERED])
    gone.publish()
    left = Metrics(lambda: levels, directory=tmp_path, writer="left")
    later = time.time() + 60
    monkeypatch.setattr(metrics_module, "time", lambda: later)
    assert value(left, "changeover_requests_total") == 1
    assert value(left, "changeover_in_flight") == 1
    assert value(left, "changeover_workers") == 1
    assert value(left, "changeover_records_lost_total") == 4


def test_a_damaged_file_of_another_worker_hides_nothing_else(tmp_path: Path) -> None:
    metrics = Metrics(directory=tmp_path, writer="a")
    metrics.take([ANSWERED])
    (tmp_path / "b.metrics").write_bytes(b"\xff\x00 not a page")
    assert value(metrics, "changeover_requests_total") == 1


async def test_a_directory_that_is_gone_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(directory=tmp_path / "nowhere", writer="a")
    running = asyncio.create_task(metrics.run())
    async with asyncio.timeout(10):
        while not caplog.records:
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()


def test_counting_takes_microseconds() -> None:
    """Loosely: the figure that counts is in the docs; this one only catches what is ten times as slow."""
    metrics = Metrics()
    batch = [replace(ANSWERED, id=f"req_{number}") for number in range(5000)]
    best = min(_seconds(metrics, batch) for _ in range(5))
    assert best / len(batch) < 30e-6


def _seconds(metrics: Metrics, batch: list[Exchange]) -> float:
    started = time.thread_time()
    metrics.take(batch)
    return time.thread_time() - started

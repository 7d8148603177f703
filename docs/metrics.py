"""What `/metrics` has, read off a page with one of everything on it: for the generated page, and for the test that compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector

from changeover.gateway.metrics import Levels, Metrics
from changeover.tasks.exchanges import Exchange

SUFFIXES = {"counter": "_total", "gauge": "", "histogram": ""}
OUTCOMES = {
    "ok": "answered whole",
    "request_error": "the caller's own: a status below 500",
    "model_error": "the engine refused, failed, stalled or broke off",
    "gateway_error": "ours",
    "truncated": "a stream that broke off after its first byte",
    "abandoned": "the caller went away before the end",
}
TOOL_OUTCOMES = ("ok", "request_error", "model_error", "gateway_error", "cancelled")
_ONE = Exchange(
    id="req_1",
    task="summarise",
    revision=1,
    variant="var_1",
    deployment="echo",
    side="incumbent",
    key="key_1",
    internal=False,
    stream=True,
    status=200,
    error=None,
    error_source=None,
    truncated=False,
    abandoned=False,
    attempts=1,
    failed_variants=(),
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    duration_ms=10.0,
    first_chunk_ms=5.0,
    prompt_tokens=3,
    completion_tokens=5,
)


@dataclass(frozen=True)
class Shown:
    """One metric as the page has it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[str, ...]
    """Of a histogram's buckets."""


def shown() -> Iterator[Shown]:
    """Every metric of the gateway's own."""
    counts = Metrics(lambda: Levels(breakers_open={"echo": False}, ready={"echo": True}))
    counts.take([_ONE])
    counts.refused(401, "invalid_api_key")
    counts.skipped("summarise", "busy")
    counts.ran_tool("document-summary", "ok", 1.0)
    yield from map(_shown, counts.collect())


def of_the_process() -> Iterator[Shown]:
    """What the client library tells of the process, where one process answers."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    yield from map(_shown, registry.collect())


def _shown(family: Metric) -> Shown:
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
    bounds = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
    return Shown(family.name + SUFFIXES[family.type], family.type, family.documentation, tuple(labels), tuple(bounds))

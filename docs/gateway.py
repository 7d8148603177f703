"""The generated pages about the gateway: its routes, from its own description, and its metrics, from a page with one of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from tests.support.exchanges import exchange

from changeover.gateway.keys import ROLES
from changeover.gateway.metrics import Levels, Metrics
from changeover.gateway.openapi import document
from changeover.tasks.routes import Side
from docs.page import page

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


@dataclass(frozen=True)
class Shown:
    """One metric as the page has it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[str, ...]
    """Of a histogram's buckets."""


def routes() -> str:
    """Every route of the gateway, and who may call it, from its own description of itself."""
    paths = document()["paths"]
    rows = [
        f"| `{method.upper()} {path}` | {_who(operation['x-roles'])} | {operation['summary']}. "
        + operation["description"].partition(" Keys that may")[0].replace("|", "\\|")
        + " |"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method != "head"
    ]
    return page(
        [
            "# Routes",
            "Every route of the gateway and the [roles](../concepts/limits.md#keys) whose keys may call it, from the document that "
            "`GET /openapi.json` gives to programs. What a request takes and what an answer has: [API](api.md), and for tools "
            "[tools over HTTP](../guides/tools-over-http.md). Nothing else exists: 404 `no_such_route`.",
            "| route | who | |\n|---|---|---|\n" + "\n".join(rows),
        ]
    )


def metrics() -> str:
    """Everything that `/metrics` has."""
    rows = list(shown())
    histograms = [row for row in rows if row.bounds]
    return page(
        [
            "# Metrics",
            "What `GET /metrics` has, in Prometheus' format or OpenMetrics', for keys whose role may look "
            "([API](api.md)). With several workers any of them answers for all of its machine. Names and buckets are those of "
            "OpenTelemetry's conventions for generative AI where these have one. No caller's text becomes a label, and no key: a "
            "task that nobody declared is counted as `other`, and so is what comes after 5,000 combinations of labels.",
            "## The gateway's",
            _metrics_table(rows),
            "A histogram has `_bucket`, `_sum` and `_count`. Its buckets end at:",
            "\n".join(f"* `{row.name}`: {', '.join(row.bounds)}" for row in histograms),
            "## Labels",
            "| label | values |\n|---|---|\n"
            "| `task`, `deployment`, `tool`, `team` | names; empty where there is none |\n"
            "| `side` | " + ", ".join(f"`{side}`" for side in get_args(Side)) + "; empty where nobody was asked |\n"
            "| `internal` | `true` for shadow, judge and evaluation traffic, which is charged to nobody |\n"
            "| `gen_ai_operation_name` | `chat`, `text_completion`, `embeddings` |\n"
            "| `gen_ai_token_type` | `input`, `output` |\n"
            "| `status`, `code` | of the [error](errors.md) that a request was refused with |\n"
            "| `outcome` of a request | "
            + "; ".join(f"`{name}`: {meaning}" for name, meaning in OUTCOMES.items())
            + " |\n"
            "| `outcome` of a tool's run | " + ", ".join(f"`{name}`" for name in TOOL_OUTCOMES) + " |",
            "## The process'",
            "Where one process answers; of several workers each would show another's. From the client library.",
            _metrics_table(of_the_process()),
            "## What to watch",
            "| alarm | expression |\n|---|---|\n"
            "| callers see errors of a task | "
            '`sum by (task) (rate(changeover_requests_total{outcome=~"model_error\\|gateway_error\\|truncated"}[5m])) > 0` |\n'
            "| an engine cannot answer | `changeover_engine_ready == 0` |\n"
            "| a worker leaves an engine alone | `changeover_breaker_open == 1` |\n"
            "| the database is gone | `changeover_store_stale == 1` |\n"
            "| records are lost, or wait | `rate(changeover_records_lost_total[5m]) > 0`, `changeover_records_waiting > 10000` |",
        ]
    )


def shown() -> Iterator[Shown]:
    """Every metric of the gateway's own."""
    counts = Metrics(lambda: Levels(breakers_open={"echo": False}, ready={"echo": True}))
    counts.take([exchange(stream=True)])
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


def _who(roles: Collection[str]) -> str:
    if not roles:
        return "anybody"
    return "every key" if set(roles) == set(ROLES) else ", ".join(role for role in ROLES if role in roles)


def _metrics_table(rows: Iterable[Shown]) -> str:
    lines = [
        f"| `{row.name}` | {row.kind} | {', '.join(f'`{label}`' for label in row.labels) or '–'} | {row.meaning} |"
        for row in rows
    ]
    return "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "\n".join(lines)

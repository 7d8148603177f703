"""Counts as families of Prometheus metrics, each with its name, its help and its labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from changeover.gateway.metrics.counts import (
    DURATION_S,
    FIRST_TOKEN_S,
    PER_TOKEN_S,
    RUN_S,
    TOKENS,
    Cell,
    Levels,
    Tally,
    ToolTally,
)

_TASK, _DEPLOYMENT, _SIDE, _OUTCOME, _OPERATION, _TEAM, _INTERNAL = range(7)
_LABELS = ("task", "deployment", "side", "outcome", "gen_ai_operation_name", "team", "internal")


def _sums(cells: Mapping[Cell, Tally], places: Sequence[int]) -> dict[tuple[str, ...], Tally]:
    """Tallies by some of the labels."""
    sums: dict[tuple[str, ...], Tally] = {}
    for cell, tally in cells.items():
        labels = tuple(str(cell[place]).lower() if place == _INTERNAL else str(cell[place]) for place in places)
        sums.setdefault(labels, Tally()).add(tally)
    return sums


def _labels(places: Iterable[int]) -> list[str]:
    return [_LABELS[place] for place in places]


def counters(cells: Mapping[Cell, Tally], refused: Mapping[tuple[int, str], int]) -> Iterator[Metric]:
    """Requests, tokens and money."""
    places = (_TASK, _DEPLOYMENT, _SIDE, _OUTCOME, _OPERATION, _TEAM, _INTERNAL)
    requests = CounterMetricFamily("changeover_requests", "Finished requests of known callers.", labels=_labels(places))
    for labels, tally in _sums(cells, places).items():
        requests.add_metric(labels, tally.requests)
    yield requests
    family = CounterMetricFamily(
        "changeover_refused", "Requests refused before their task was known.", labels=["status", "code"]
    )
    for (status, code), count in sorted(refused.items()):
        family.add_metric([str(status), code], count)
    yield family
    charged = (_TASK, _DEPLOYMENT, _TEAM, _INTERNAL)
    tokens = CounterMetricFamily(
        "changeover_tokens", "Tokens of finished requests.", labels=[*_labels(charged), "gen_ai_token_type"]
    )
    cost = CounterMetricFamily(
        "changeover_cost_usd", "Cost by the declared prices, US dollars.", labels=_labels(charged)
    )
    for labels, tally in _sums(cells, charged).items():
        tokens.add_metric([*labels, "input"], tally.input_tokens)
        tokens.add_metric([*labels, "output"], tally.output_tokens)
        cost.add_metric(labels, tally.microusd / 1e6)
    yield tokens
    yield cost
    yield from _by_task(cells)


def _by_task(cells: Mapping[Cell, Tally]) -> Iterator[Metric]:
    by_task = _sums(cells, (_TASK,))
    for name, text, value in (
        ("streams", "Finished requests that were streamed.", "streams"),
        ("retries", "Answers that another model was asked for, after one had failed.", "retries"),
        (
            "streams_gone_on",
            "Streams that broke off and that another model, or the same anew, went on with.",
            "gone_on",
        ),
        ("usage_estimated", "Requests whose tokens were estimated here.", "estimated"),
        ("unpriced", "Requests without a known price.", "unpriced"),
    ):
        family = CounterMetricFamily(f"changeover_{name}", text, labels=["task"])
        for labels, tally in by_task.items():
            family.add_metric(labels, getattr(tally, value))
        yield family


def shadow_skipped(skipped: Mapping[tuple[str, str], int]) -> Metric:
    """Requests that a candidate was to be asked too, and was not."""
    family = CounterMetricFamily(
        "changeover_shadow_skipped", "Requests drawn for the shadow and not copied.", labels=["task", "reason"]
    )
    for (task, reason), count in sorted(skipped.items()):
        family.add_metric([task, reason], count)
    return family


def of_tools(runs: Mapping[tuple[str, str], ToolTally]) -> Iterator[Metric]:
    """Runs of tools; their calls of tasks are among the requests."""
    family = HistogramMetricFamily(
        "changeover_tool_run_seconds", "Runs of tools that have ended.", labels=["tool", "outcome"]
    )
    for labels, tally in sorted(runs.items()):
        family.add_metric(labels, _buckets(RUN_S, tally.durations), tally.seconds)
    yield family


def histograms(cells: Mapping[Cell, Tally]) -> Iterator[Metric]:
    """Times and sizes, with the conventions' names and bounds."""
    places = (_TASK, _DEPLOYMENT, _SIDE, _OUTCOME, _OPERATION)
    duration = HistogramMetricFamily(
        "gen_ai_server_request_duration_seconds", "From the request to the last byte.", labels=_labels(places)
    )
    for labels, tally in _sums(cells, places).items():
        duration.add_metric(labels, _buckets(DURATION_S, tally.durations), tally.seconds)
    yield duration
    places = (_TASK, _DEPLOYMENT, _SIDE, _OPERATION)
    first = HistogramMetricFamily(
        "gen_ai_server_time_to_first_token_seconds", "From the request to the first event.", labels=_labels(places)
    )
    each = HistogramMetricFamily(
        "gen_ai_server_time_per_output_token_seconds",
        "Between tokens after the first, streams.",
        labels=_labels(places),
    )
    usage = HistogramMetricFamily(
        "gen_ai_client_token_usage", "Tokens of one request.", labels=[*_labels(places), "gen_ai_token_type"]
    )
    for labels, tally in _sums(cells, places).items():
        if any(tally.firsts):
            first.add_metric(labels, _buckets(FIRST_TOKEN_S, tally.firsts), tally.first_seconds)
        if any(tally.per_tokens):
            each.add_metric(labels, _buckets(PER_TOKEN_S, tally.per_tokens), tally.per_token_seconds)
        usage.add_metric([*labels, "input"], _buckets(TOKENS, tally.inputs), tally.input_tokens)
        usage.add_metric([*labels, "output"], _buckets(TOKENS, tally.outputs), tally.output_tokens)
    yield from (first, each, usage)


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Running totals by upper bound, as Prometheus wants them."""
    running, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), running))
    return buckets


def gauges(levels: Sequence[Levels]) -> Iterator[Metric]:
    """How things stand, over all workers that are there."""
    for name, text, value in (
        ("changeover_workers", "Workers that answer.", len(levels)),
        ("changeover_in_flight", "Requests being answered.", sum(each.in_flight for each in levels)),
        ("changeover_tools_in_flight", "Runs of tools under way.", sum(each.tools_in_flight for each in levels)),
        ("changeover_records_waiting", "Exchanges not written yet.", sum(each.records_waiting for each in levels)),
        ("changeover_spans_waiting", "Spans not sent yet.", sum(each.spans_waiting for each in levels)),
        (
            "changeover_store_stale",
            "1: a worker answers from its last snapshot.",
            any(each.store_stale for each in levels),
        ),
        (
            "changeover_route_revision",
            "Route revision of the worker that is behind all others.",
            min((each.route_revision for each in levels), default=0),
        ),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
    open_breakers = GaugeMetricFamily(
        "changeover_breaker_open", "1: a worker leaves the deployment alone.", labels=["deployment"]
    )
    for name in sorted({name for each in levels for name in each.breakers_open}):
        open_breakers.add_metric([name], float(any(each.breakers_open.get(name, False) for each in levels)))
    yield open_breakers
    ready = GaugeMetricFamily("changeover_engine_ready", "1: the engine can answer.", labels=["deployment"])
    for name in sorted({name for each in levels for name in each.ready}):
        ready.add_metric([name], float(all(each.ready.get(name, False) for each in levels)))
    yield ready


def losses(levels: Sequence[Levels]) -> Iterator[Metric]:
    """What was lost since the start, also by workers that are gone."""
    for name, text, value in (
        ("records_without_content", "Exchanges whose content was left out under pressure.", "records_without_content"),
        ("records_lost", "Exchanges that were not recorded.", "records_lost"),
        ("spans_lost", "Spans that reached no collector.", "spans_lost"),
    ):
        total = sum(getattr(each, value) for each in levels)
        yield CounterMetricFamily(f"changeover_{name}", text, value=total)

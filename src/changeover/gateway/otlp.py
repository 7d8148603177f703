"""Spans in OpenTelemetry's words, and the way to a collector. Loaded only where one is configured: see traces.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from changeover import __version__
from changeover.gateway.metrics.counts import OPERATIONS
from changeover.gateway.traces import Trace
from changeover.tasks.exchanges import Exchange

TIMEOUT_S = 5.0
SCOPE = InstrumentationScope("changeover.gateway", __version__)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
FIRST_TOKEN = "gen_ai.first_token"
PROVIDER = "changeover"
"""The conventions know no name for a gateway to open models; a name of one's own is allowed."""
NOTHING: Mapping[str, str | int] = MappingProxyType({})
LIBRARY_LOGS = ("opentelemetry", "urllib3", "requests")


class Exporter:
    """Sends spans to one collector. Used by one thread."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        resource: Mapping[str, str | int],
        server: tuple[str, int] | None = None,
    ) -> None:
        """Prepare; the collector is not asked before there is a span."""
        for name in LIBRARY_LOGS:
            # The library complains about every batch, and quotes what was answered; we say it once, in our words.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=TIMEOUT_S)
        self._resource = Resource({"service.name": "changeover", "service.version": __version__, **resource})
        self._server: dict[str, str | int] = {}
        if server is not None:
            self._server = {"server.address": server[0], "server.port": server[1]}

    def export(self, batch: Sequence[tuple[Exchange, Trace]]) -> str | None:
        """Send spans; gives why they were not taken, or None."""
        try:
            spans = [span_of(exchange, trace, self._resource, self._server) for exchange, trace in batch]
            sent = self._exporter.export(spans)
        except Exception as exc:  # whatever the library and the network think of: nobody waits for a trace
            return type(exc).__name__
        return None if sent is SpanExportResult.SUCCESS else "it cannot be reached, or refused them"


def span_of(
    exchange: Exchange, trace: Trace, resource: Resource, more: Mapping[str, str | int] = NOTHING
) -> ReadableSpan:
    """The span of one request, from its first byte in to its last byte out; `more` are attributes of every span."""
    begin = _nanoseconds(exchange)
    operation = OPERATIONS[exchange.endpoint]
    known = _attributes(exchange, operation)
    failed = exchange.error is not None or exchange.truncated
    events = []
    if exchange.first_chunk_ms is not None:
        events = [Event(FIRST_TOKEN, timestamp=begin + round(exchange.first_chunk_ms * 1e6))]
    parent = None if trace.parent is None else _context(trace.id, trace.parent, remote=True)
    return ReadableSpan(
        name=f"{operation} {exchange.task}",
        context=_context(trace.id, trace.span, remote=False),
        parent=parent,
        resource=resource,
        attributes={**more, **{name: value for name, value in known.items() if value is not None}},
        events=events,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=begin,
        end_time=begin + round(exchange.duration_ms * 1e6),
        instrumentation_scope=SCOPE,
    )


def _attributes(exchange: Exchange, operation: str) -> dict[str, str | int | float | bool | None]:
    """The conventions' names first; ours for what they do not know. No content, no key but its id."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": exchange.task,
        "gen_ai.response.model": exchange.deployment,
        "gen_ai.request.stream": exchange.stream,
        "gen_ai.usage.input_tokens": exchange.prompt_tokens,
        "gen_ai.usage.output_tokens": exchange.completion_tokens,
        "error.type": exchange.error or ("truncated" if exchange.truncated else None),
        "http.response.status_code": exchange.status,
        "changeover.request.id": exchange.id,
        "changeover.task": exchange.task,
        "changeover.route.revision": exchange.revision,
        "changeover.variant": exchange.variant,
        "changeover.side": exchange.side,
        "changeover.team": exchange.team,
        "changeover.key.id": exchange.key,
        "changeover.internal": exchange.internal,
        "changeover.attempts": exchange.attempts,
        "changeover.failed_variants": " ".join(exchange.failed_variants) or None,
        "changeover.begun_by": exchange.begun_by,
        "changeover.error.source": exchange.error_source,
        "changeover.truncated": exchange.truncated,
        "changeover.abandoned": exchange.abandoned,
        "changeover.usage.estimated": exchange.usage_estimated,
        "changeover.cost.usd": None if exchange.cost_microusd is None else exchange.cost_microusd / 1e6,
    }


def _nanoseconds(exchange: Exchange) -> int:
    at = exchange.started_at
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def _context(trace: str, span: str, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=remote, trace_flags=SAMPLED)

"""Traces: one OpenTelemetry span for each request, made from its exchange after the fact, and W3C trace context.

The door asks `Traces.begin` for a request's place in its caller's trace; the recorder hands over what has ended; a thread
sends it. A collector that is slow or gone delays nobody: spans wait up to a bound, and what is lost is counted.
The OpenTelemetry libraries are an extra and are loaded only where a collector is configured.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits

from changeover.core.errors import ConfigError
from changeover.gateway.http import Headers
from changeover.tasks.exchanges import Exchange

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Spans that were not sent yet; more are dropped and counted."""
MOST_UNDER_WAY = 20_000
"""Requests whose place in a trace is remembered; of more than that the oldest get no span."""
BATCH = 512
SEND_S = 1.0
"""Longest time that a span waits for others to go with it."""
CLOSE_S = 5.0
ADAPTER = "changeover.gateway.otlp"

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^\r\n]{0,256})?")
# Printable ASCII; a value holds neither comma nor equals sign and does not end in a space. Keys as level 2 allows them,
# which takes all of level 1.
_STATE_MEMBER = re.compile(rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
MOST_STATE_BYTES = 512
MOST_STATE_MEMBERS = 32
LONG_STATE_MEMBER = 128
"""Bytes; of what does not fit, longer members go first."""
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16


@dataclass(frozen=True, slots=True)
class Trace:
    """The place of one request in a trace."""

    id: str
    """32 hex digits."""
    span: str
    """Of this request here; 16 hex digits."""
    parent: str | None
    """The caller's span."""
    sampled: bool
    state: str = ""
    """The caller's `tracestate`, as it may be passed on; empty: there is none."""

    def header(self) -> bytes:
        """The `traceparent` for whoever is asked next."""
        return child_traceparent(self.id, self.span, sampled=self.sampled)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """All that whoever is asked next is told of the trace."""
        parent = ("traceparent", self.header().decode())
        return (parent, ("tracestate", self.state)) if self.state else (parent,)


Export = Callable[[Sequence[tuple[Exchange, Trace]]], str | None]
"""Sends spans; gives why it could not, or None. May wait; never raises."""


def parse_traceparent(header: bytes) -> tuple[str, str, bool] | None:
    """Read a W3C `traceparent` header: trace id, the caller's span id, whether it is sampled; None if it is none.

    Source: W3C Trace Context, level 1, section 3.2.
    """
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace, parent, flags, more = match.groups()
    # 00 has four fields and no more; a later version may add some; ff is forbidden.
    if version == b"ff" or (version == b"00" and more is not None) or trace == _NO_TRACE or parent == _NO_SPAN:
        return None
    return trace.decode(), parent.decode(), bool(int(flags, 16) & 1)


def child_traceparent(trace: str, span: str, *, sampled: bool) -> bytes:
    """Write a `traceparent` header for a request that belongs to a span of ours."""
    return f"00-{trace}-{span}-0{int(sampled)}".encode()


def parse_tracestate(values: Sequence[bytes]) -> str:
    """Read W3C `tracestate` headers: one value with at most 512 bytes and whole members; empty where one is malformed.

    Args:
        values: Of all headers of that name, in their order.

    Source: W3C Trace Context, level 1, section 3.3, with the keys of level 2.
    """
    members = [member for value in values for each in value.split(b",") if (member := each.strip(b" \t"))]
    if len(members) > MOST_STATE_MEMBERS or not all(map(_STATE_MEMBER.fullmatch, members)):
        return ""
    kept = dict(enumerate(members))
    # What does not fit goes as whole members: long ones first, and from the end, where the oldest are.
    for place in sorted(kept, key=lambda place: (len(kept[place]) > LONG_STATE_MEMBER, place), reverse=True):
        if len(b",".join(kept.values())) <= MOST_STATE_BYTES:
            break
        del kept[place]
    return b",".join(kept.values()).decode()


class Traces:
    """Where requests get their place in a trace, and where their spans go. Without a collector it only passes on."""

    def __init__(self, export: Export | None = None, *, share: float = 1.0) -> None:
        """Start the thread that sends, if there is anything to send to.

        Args:
            export: See `collector`; None: nothing is sent.
            share: Of the requests that are traced where the caller's header does not say, 0 to 1.
        """
        self._export = export
        self._threshold = int(share * (1 << 64))
        self._under_way: dict[str, Trace] = {}
        self._waiting: deque[tuple[Exchange, Trace]] = deque()
        self._due = threading.Event()
        self._closing = False
        self._failing = False
        self.lost = 0
        """Spans that were dropped under pressure, or that the collector did not take."""
        self.sent = 0
        self._thread: threading.Thread | None = None
        if export is not None:
            self._thread = threading.Thread(target=self._send, args=(export,), name="traces", daemon=True)
            self._thread.start()

    @property
    def waiting(self) -> int:
        """Spans not sent yet."""
        return len(self._waiting)

    def begin(self, request: str, header: bytes | None, others: Headers = ()) -> Trace | None:
        """Give a request its place, in its caller's trace if it came with one. None where there is nothing to trace.

        Args:
            request: Its id, which is also that of the exchange.
            header: The caller's `traceparent`; anything malformed counts as none.
            others: All of the caller's headers, for any `tracestate`, which counts only beside a `traceparent`.
        """
        caller = None if header is None else parse_traceparent(header)
        if caller is not None:
            state = parse_tracestate([value for name, value in others if name == b"tracestate"])
            trace = Trace(caller[0], _span_id(), caller[1], caller[2], state)
        elif self._export is not None:
            low = getrandbits(64)
            trace = Trace(f"{getrandbits(64):016x}{low or 1:016x}", _span_id(), None, low < self._threshold)
        else:
            return None
        if trace.sampled and self._export is not None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                self._forget_oldest()
            self._under_way[request] = trace
        return trace

    def take(self, batch: Sequence[Exchange]) -> None:
        """Make spans of finished requests that `begin` has seen and that are sampled."""
        if self._export is None:
            return
        for exchange in batch:
            trace = self._under_way.pop(exchange.id, None)
            if trace is None:
                continue
            if len(self._waiting) >= MOST_WAITING:
                self.lost += 1
            else:
                self._waiting.append((exchange, trace))
        if len(self._waiting) >= BATCH:
            self._due.set()

    def close(self) -> None:
        """Send what waits, within `CLOSE_S`. Blocks."""
        self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _forget_oldest(self) -> None:
        with contextlib.suppress(StopIteration, RuntimeError):  # the recorder's thread was faster
            self._under_way.pop(next(iter(self._under_way)), None)

    def _send(self, export: Export) -> None:
        while not self._closing:
            self._due.wait(SEND_S)
            self._due.clear()
            self._send_waiting(export)
        self._send_waiting(export)

    def _send_waiting(self, export: Export) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            problem = export(batch)
            if problem is None:
                self.sent += len(batch)
                if self._failing:
                    log.info("traces: the collector takes spans again; %d were lost", self.lost)
            else:
                self.lost += len(batch)
                if not self._failing:
                    log.warning("traces: the collector takes no spans: %s; requests go on, spans are lost", problem)
            self._failing = problem is not None


def _span_id() -> str:
    return f"{getrandbits(64) or 1:016x}"


def collector(
    endpoint: str,
    headers: Mapping[str, str],
    resource: Mapping[str, str | int],
    server: tuple[str, int] | None = None,
) -> Export:
    """An OTLP/HTTP collector to send spans to.

    Args:
        endpoint: Its whole address, such as `http://127.0.0.1:4318/v1/traces`.
        headers: For the collector; may hold a secret.
        resource: What this process is, such as `service.instance.id`; name and version are known.
        server: Host and port that the gateway listens on.

    Raises:
        ConfigError: The extra `telemetry` is not installed, or the address is none.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            f"`telemetry.otlp_endpoint` is `{endpoint}`: it must be an address such as `http://127.0.0.1:4318/v1/traces`."
        )
    try:
        # Loaded here: it takes 0.15 s and 20 MB, and most installations send no traces.
        adapter = importlib.import_module(ADAPTER)
    except ImportError as exc:
        raise ConfigError(
            f"`telemetry.otlp_endpoint` needs the extra `telemetry` ({exc}). "
            'Install it: `pip install "changeover[telemetry]"`.'
        ) from exc
    export: Export = adapter.Exporter(endpoint, headers, resource, server).export
    return export


def parse_headers(text: str) -> dict[str, str]:
    """Read `name=value,name=value`, as `OTEL_EXPORTER_OTLP_HEADERS` is written.

    Raises:
        ConfigError: It is not of this form; the text is not repeated, for it may hold a secret.
    """
    headers: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name.strip()):
            raise ConfigError(
                "The variable that `telemetry.otlp_headers_env` names must read `name=value,name=value`; "
                "what stands there is not shown, since it may hold a secret."
            )
        headers[name.strip().lower()] = value.strip()
    return headers

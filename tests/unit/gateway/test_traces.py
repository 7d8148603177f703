"""Trace context, and spans at a real OTLP/HTTP collector."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.support.collector import collector as listening
from tests.support.exchanges import exchange

from changeover.core.errors import ConfigError
from changeover.gateway import traces as traces_module
from changeover.gateway.traces import (
    Traces,
    child_traceparent,
    collector,
    parse_headers,
    parse_traceparent,
    parse_tracestate,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{PARENT}-01".encode()
SECRET = "canary-71b3-otlp-header"

ANSWERED = exchange(
    "req_1",
    task="summarise",
    revision=7,
    deployment="qwen",
    side="candidate",
    stream=True,
    attempts=2,
    failed_variants=("v0",),
    started_at=datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC),
    duration_ms=300.0,
    first_chunk_ms=100.0,
    prompt_tokens=20,
    completion_tokens=5,
    request='{"messages": "never in a span"}',
    team="risk",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "SEND_S", 0.02)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(traces: Traces, *requests: str) -> None:
    """Requests begin and end."""
    for request in requests:
        traces.begin(request, CALLER)
    traces.take([replace(ANSWERED, id=request) for request in requests])


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


def test_a_traceparent_is_read_as_the_standard_says() -> None:
    assert parse_traceparent(CALLER) == (TRACE, PARENT, True)
    assert parse_traceparent(f"00-{TRACE}-{PARENT}-00".encode()) == (TRACE, PARENT, False)
    assert parse_traceparent(f"cc-{TRACE}-{PARENT}-01-what-the-future-will-bring".encode()) == (TRACE, PARENT, True)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        CALLER.upper(),
        CALLER + b"-more",
        CALLER[:-1],
        b"ff" + CALLER[2:],
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        CALLER.replace(b"-", b"_"),
        CALLER + b"\r\nx-evil: 1",
        "00-\uff14bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".encode(),
        b"\xff" * 55,
        b"0" * 100_000,
    ],
)
def test_anything_else_is_no_traceparent(header: bytes) -> None:
    assert parse_traceparent(header) is None
    assert Traces().begin("req_1", header) is None


@given(st.binary(max_size=200))
def test_no_header_is_a_surprise(header: bytes) -> None:
    found = parse_traceparent(header)
    assert found is None or parse_traceparent(child_traceparent(found[0], found[1], sampled=found[2])) == found


STATES: list[tuple[list[bytes], str]] = [
    ([b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ([b"a=1", b"b=2,c=3"], "a=1,b=2,c=3"),
    ([b" a=1 ,\t,b=2,,"], "a=1,b=2"),
    ([b"fw529a3039@dt=FfkEBAAAAAA, 0level2=x y!~"], "fw529a3039@dt=FfkEBAAAAAA,0level2=x y!~"),
    ([], ""),
    ([b""], ""),
    # Whatever is malformed takes all of it along.
    ([b"a=1,b"], ""),
    ([b"a=1", b"b"], ""),
    ([b"A=1"], ""),
    ([b"a =1"], ""),
    ([b"a="], ""),
    ([b"a=1=2"], ""),
    ([b"a=1\r\nx-evil: 1"], ""),
    ([b"a=\x00"], ""),
    ([b"a=\x7f"], ""),
    ([b"a=\xc3\xa9"], ""),
    ([b"a" * 257 + b"=1"], ""),
    ([b"a=" + b"1" * 257], ""),
    # At most 32 members.
    ([b",".join(b"k%d=v" % n for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
    ([b",".join(b"k%d=v" % n for n in range(33))], ""),
    # At most 512 bytes: whole members go, from the end.
    ([b",".join(b"k%02d=" % n + b"v" * 96 for n in range(6))], ",".join(f"k{n:02}=" + "v" * 96 for n in range(5))),
    ([b"a=" + b"1" * 252 + b",b=" + b"1" * 252], "a=" + "1" * 252 + ",b=" + "1" * 252),
    ([b"a=" + b"1" * 252 + b",b=" + b"1" * 252 + b",c=1"], "a=" + "1" * 252 + ",c=1"),
    # Members of more than 128 bytes go first, and no more of them than have to.
    (
        [b",".join([b"a=1", b"b=" + b"1" * 200, b"c=1", b"d=" + b"1" * 200, b"e=" + b"1" * 126])],
        ",".join(["a=1", "b=" + "1" * 200, "c=1", "e=" + "1" * 126]),
    ),
]


@pytest.mark.parametrize(("values", "state"), STATES)
def test_a_tracestate_is_passed_on_whole_or_shortened_as_the_standard_says(values: list[bytes], state: str) -> None:
    assert parse_tracestate(values) == state


@given(st.lists(st.binary(max_size=700) | st.from_regex(rb"([a-c]{1,9}=[!-+.-;]{1,200},){1,9}", fullmatch=True)))
def test_whatever_comes_what_is_passed_on_is_short_printable_and_well_formed(values: list[bytes]) -> None:
    state = parse_tracestate(values)
    assert len(state) <= 512
    assert state.isascii()
    assert not state or state.isprintable()
    assert parse_tracestate([state.encode()]) == state


def test_a_tracestate_belongs_to_a_traceparent_and_both_are_told_to_whoever_is_asked_next() -> None:
    headers = [(b"traceparent", CALLER), (b"tracestate", b"a=1"), (b"x-else", b"c=3"), (b"tracestate", b"b=2")]
    trace = Traces().begin("req_1", CALLER, headers)
    assert trace is not None
    assert trace.headers() == (("traceparent", trace.header().decode()), ("tracestate", "a=1,b=2"))


def test_a_tracestate_without_a_traceparent_that_holds_is_dropped() -> None:
    traces = Traces(lambda _: None)
    for parent in (None, b"", CALLER + b"-more"):
        trace = traces.begin("req_1", parent, [(b"tracestate", b"a=1")])
        assert trace is not None, "one of our own begins"
        assert [name for name, _ in trace.headers()] == ["traceparent"]
    without = traces.begin("req_1", CALLER, [(b"tracestate", b"A=1")])
    assert without is not None
    assert (without.id, without.headers()) == (TRACE, (("traceparent", without.header().decode()),))
    traces.close()


def test_without_a_collector_a_callers_trace_is_passed_on_and_none_is_begun() -> None:
    traces = Traces()
    trace = traces.begin("req_1", CALLER)
    assert trace is not None
    assert (trace.id, trace.parent, trace.sampled) == (TRACE, PARENT, True)
    assert parse_traceparent(trace.header()) == (TRACE, trace.span, True)
    assert trace.span != PARENT
    assert traces.begin("req_2", None) is None
    traces.take([ANSWERED])
    traces.close()


def test_a_finished_request_becomes_a_span_with_the_names_of_the_conventions() -> None:
    with listening() as seen:
        headers = parse_headers(f"authorization={SECRET}, x-tenant=a")
        traces = Traces(collector(seen.address, headers, {"service.instance.id": "w1"}, ("127.0.0.1", 8100)))
        trace = traces.begin("req_1", CALLER)
        traces.take([ANSWERED, replace(ANSWERED, id="req_nobody_began")])
        until(lambda: seen.spans)
        traces.close()
    assert trace is not None
    (span,) = seen.spans
    assert span.name == "chat summarise"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, trace.span, PARENT)
    begin = int(ANSWERED.started_at.timestamp() * 1000) * 1_000_000
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (begin, begin + 300_000_000)
    assert [(event.name, event.time_unix_nano) for event in span.events] == [
        ("gen_ai.first_token", begin + 100_000_000)
    ]
    assert span.status.code == Status.STATUS_CODE_UNSET
    found = attributes(span)
    assert (
        found
        | {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "summarise",
            "gen_ai.response.model": "qwen",
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 5,
            "server.address": "127.0.0.1",
            "server.port": 8100,
            "changeover.request.id": "req_1",
            "changeover.route.revision": 7,
            "changeover.side": "candidate",
            "changeover.team": "risk",
            "changeover.attempts": 2,
        }
        == found
    )
    assert "error.type" not in found
    (resource,) = seen.requests[0].resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "changeover"
    assert seen.headers[0]["authorization"] == SECRET
    assert not any(word in seen.requests[0].SerializeToString() for word in (b"never in a span", SECRET.encode()))


def test_a_failed_request_says_so() -> None:
    with listening() as seen:
        traces = Traces(collector(seen.address, {}, {}))
        failed = replace(ANSWERED, status=502, error="model_failed", error_source="model", first_chunk_ms=None)
        cut = replace(ANSWERED, id="req_2", truncated=True)
        for exchange in (failed, cut):
            traces.begin(exchange.id, CALLER)
        traces.take([failed, cut])
        until(lambda: len(seen.spans) == 2)
        traces.close()
    for span, kind in zip(seen.spans, ("model_failed", "truncated"), strict=True):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(span)["error.type"] == kind
    assert not seen.spans[0].events


def test_the_caller_decides_and_else_the_share() -> None:
    with listening() as seen:
        export = collector(seen.address, {}, {})
        none, every = Traces(export, share=0.0), Traces(export, share=1.0)
        begun = [
            *(none.begin("req_1", None), none.begin("req_2", CALLER)),
            *(every.begin("req_3", CALLER[:-1] + b"0"), every.begin("req_4", None)),
        ]
        assert [trace.sampled for trace in begun if trace is not None] == [False, True, False, True]
        assert [trace.parent for trace in begun if trace is not None] == [None, PARENT, PARENT, None]
        half = Traces(export, share=0.5)
        sampled = [trace.sampled for n in range(2000) if (trace := half.begin(f"r{n}", None)) is not None]
        assert 850 < sum(sampled) < 1150
        none.take([replace(ANSWERED, id="req_1"), replace(ANSWERED, id="req_2")])
        every.take([replace(ANSWERED, id="req_3"), replace(ANSWERED, id="req_4")])
        until(lambda: len(seen.spans) == 2)
        for traces in (none, every, half):
            traces.close()
    assert {attributes(span)["changeover.request.id"] for span in seen.spans} == {"req_2", "req_4"}


def test_a_collector_that_refuses_costs_nobody_anything_and_is_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    with listening() as seen:
        seen.status = 400
        traces = Traces(collector(seen.address, {"authorization": SECRET}, {}))
        for number in range(5):
            finish(traces, f"req_{number}")
            until(lambda: traces.lost == number + 1)  # noqa: B023 - done before the next turn
        assert len(caplog.records) == 1
        seen.status = 200
        finish(traces, "req_9")
        until(lambda: traces.sent == 1)
        traces.close()
    assert SECRET not in caplog.text
    assert traces.lost == 5


def test_a_collector_that_is_not_there_stops_neither_requests_nor_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces_module, "CLOSE_S", 1.0)
    with listening() as seen:
        address = seen.address
    traces = Traces(collector(address, {"authorization": SECRET}, {}))
    started = time.monotonic()
    finish(traces, *(f"req_{number}" for number in range(3000)))
    assert time.monotonic() - started < 5
    traces.close()
    assert time.monotonic() - started < 15
    assert SECRET not in caplog.text


def test_spans_wait_up_to_a_bound_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "MOST_WAITING", 10)
    free, asked = threading.Event(), threading.Event()

    def export(batch: object) -> None:
        asked.set()
        free.wait(20)

    traces = Traces(export)
    finish(traces, "first")
    assert asked.wait(20)
    finish(traces, *(f"req_{number}" for number in range(30)))
    assert (traces.waiting, traces.lost) == (10, 20)
    free.set()
    traces.close()
    assert (traces.waiting, traces.sent) == (0, 11)


def test_requests_that_never_end_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "MOST_UNDER_WAY", 10)
    sent: list[str] = []

    def export(batch: Any) -> None:
        sent.extend(exchange.id for exchange, _ in batch)

    traces = Traces(export)
    finish(traces, *(f"req_{number}" for number in range(25)))
    traces.close()
    assert sent == [f"req_{number}" for number in range(15, 25)]


def test_headers_are_read_and_a_wrong_one_is_not_repeated() -> None:
    assert parse_headers("") == {}
    assert parse_headers(" A=b=c , x-y=1,") == {"a": "b=c", "x-y": "1"}
    with pytest.raises(ConfigError) as raised:
        parse_headers(f"{SECRET} and more")
    assert SECRET not in str(raised.value)


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="otlp_endpoint"):
        collector("localhost:4318", {}, {})


def test_the_libraries_are_not_loaded_without_a_collector() -> None:
    program = (
        "import sys; from changeover.gateway.traces import Traces; Traces().begin('r', None); "
        "print(any(name.startswith(('opentelemetry', 'google.protobuf')) for name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_the_libraries_logs_are_kept_quiet() -> None:
    collector("http://127.0.0.1:9/v1/traces", {}, {})
    assert not logging.getLogger("opentelemetry.exporter").isEnabledFor(logging.ERROR)

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from changeover.core.errors import CapacityError, ChangeoverError, NotReadyError, RequestError, UpstreamError
from changeover.serving.refusals import classify, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "wait_s", "kind", "edge_status"),
    [
        (400, None, RequestError, 400),
        (404, None, RequestError, 404),
        (413, None, RequestError, 413),
        (422, None, RequestError, 422),
        (429, None, CapacityError, 429),
        (503, 3.0, NotReadyError, 503),
        (503, None, UpstreamError, 502),
        (500, None, UpstreamError, 502),
        (502, 3.0, UpstreamError, 502),
        (401, None, UpstreamError, 502),
        (403, None, UpstreamError, 502),
        (302, None, UpstreamError, 502),
        (408, None, UpstreamError, 502),
        (501, None, UpstreamError, 502),
    ],
)
def test_the_status_decides_what_a_refusal_means(
    status: int, wait_s: float | None, kind: type[ChangeoverError], edge_status: int
) -> None:
    error = classify("d", status, b"", wait_s)

    assert type(error) is kind
    assert error.status == edge_status
    assert error.source == "model"
    assert error.retryable == (kind is not RequestError)
    assert "`d`" in error.message


@pytest.mark.parametrize(
    "words",
    [
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "Failed to parse tools: Missing tool function: {}",
    ],
)
def test_what_llama_cpp_calls_its_own_failure_is_the_callers_where_its_words_say_so(words: str) -> None:
    said = json.dumps({"error": {"code": 500, "message": words, "type": "server_error"}}).encode()

    error = classify("d", 500, said, None)

    assert isinstance(error, RequestError)
    assert error.status == 400
    assert words[:40] in error.message


def test_the_wait_that_an_engine_asks_for_is_passed_on() -> None:
    error = classify("d", 429, b"", 7.0)

    assert isinstance(error, CapacityError)
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"error": {"message": "too long", "type": "x"}}', "too long"),
        (b'{"error": "too long"}', "too long"),
        (b'{"object": "error", "message": "too long"}', "too long"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc":["body"]}]'),
        (b"plain\n\twords\x00\x1b[31m", "plain words [31m"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"{}", "status 400"),
        (b"", "status 400"),
        (b"[" * 5000, None),
        (b"x" * 9000, "x" * 499 + "…"),
    ],
)
def test_the_engines_words_are_found_and_made_fit_to_show(said: bytes, words: str | None) -> None:
    message = classify("d", 400, said, None).message

    if words is None:
        assert len(message) < 600
    else:
        assert message == f"`d` refused the request: {words}"


@pytest.mark.parametrize("status", [400, 500])
def test_an_engine_that_repeats_its_secret_does_not_spread_it(status: int) -> None:
    message = classify("d", status, b'{"error": "bad token engine-abc here"}', None, secret="engine-abc").message

    assert "engine-abc" not in message
    assert "[secret]" in message


@pytest.mark.parametrize("status", [401, 403])
def test_what_a_server_says_about_a_refused_key_is_not_passed_on(status: int) -> None:
    assert "sk-ab" not in classify("d", status, b'{"error": {"message": "Incorrect key sk-ab***yz"}}', None).message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", 3600.0),
        ("999999", 3600.0),
        ("soon", None),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from changeover.core.errors import (
    CapacityError,
    ChangeoverError,
    ContextOverflow,
    NoTemplateError,
    NotReadyError,
    RequestError,
    UpstreamError,
)
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


LLAMA, VLLM, TRANSFORMERS, FRONT, RAY = "llama.cpp", "vLLM", "transformers serve", "our front", "Ray Serve"
BODIES: list[tuple[str, int, str, type[ChangeoverError], str]] = [
    (
        LLAMA,
        400,
        '{"error":{"code":400,"message":"\'messages\' is required","type":"invalid_request_error"}}',
        RequestError,
        "`d` refused the request: 'messages' is required",
    ),
    (
        LLAMA,
        401,
        '{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}',
        UpstreamError,
        "`d` answered with status 401.",
    ),
    (
        LLAMA,
        404,
        '{"error":{"message":"File Not Found","type":"not_found_error","code":404}}',
        RequestError,
        "`d` refused the request: File Not Found",
    ),
    (
        LLAMA,
        500,
        '{"error":{"code":500,"message":"input (5001 tokens) is too large to process. increase the physical batch size '
        '(current batch size: 512)","type":"server_error"}}',
        ContextOverflow,
        "has `5001` tokens and `d` takes `512`",
    ),
    (
        LLAMA,
        501,
        '{"error":{"code":501,"message":"This server does not support embeddings. Start it with `--embeddings`",'
        '"type":"not_supported_error"}}',
        UpstreamError,
        "`d` answered with status 501: This server does not support embeddings.",
    ),
    (
        VLLM,
        400,
        "{\"error\":{\"message\":\"1 validation error:\\n  {'type': 'float_parsing', 'loc': 'body.temperature', "
        "'msg': 'Input should be a valid number, unable to parse string as a number', 'input': 'hot'}\","
        '"type":"Bad Request","param":"body.temperature","code":400}}',
        RequestError,
        "`d` refused the request: 1 validation error: {'type': 'float_parsing', 'loc': 'body.temperature',",
    ),
    (
        VLLM,
        400,
        '{"error":{"message":"max_tokens=100000 cannot be greater than max_model_len=2048. Please request fewer output '
        'tokens. (parameter=max_tokens, value=100000)","type":"BadRequestError","param":"max_tokens","code":400}}',
        ContextOverflow,
        "`2048`",
    ),
    (
        VLLM,
        400,
        '{"error":{"message":"As of transformers v4.44, default chat template is no longer allowed, so you must provide a '
        'chat template if the tokenizer does not define one.","type":"BadRequestError","param":null,"code":400}}',
        NoTemplateError,
        "`d` has no chat template: it is a base model, which goes on with a text. Ask it by `/v1/completions`, or",
    ),
    (
        FRONT,
        400,
        '{"error":{"message":"This model has no chat template. Ask it by `/v1/completions`.",'
        '"type":"invalid_request_error","param":null,"code":null}}',
        NoTemplateError,
        "Ask it by `/v1/completions`",
    ),
    (VLLM, 401, '{"error":"Unauthorized"}', UpstreamError, "`d` answered with status 401."),
    (VLLM, 404, '{"detail":"Not Found"}', RequestError, "`d` refused the request: Not Found"),
    (
        VLLM,
        404,
        '{"error":{"message":"The model `nope` does not exist. Valid aliases: smol.","type":"NotFoundError",'
        '"param":"model","code":404}}',
        RequestError,
        "`d` refused the request: The model `nope` does not exist.",
    ),
    (
        TRANSFORMERS,
        422,
        '{"detail":[{"type":"json_invalid","loc":["body",28],"msg":"JSON decode error","input":{},'
        '"ctx":{"error":"Expecting value"}}]}',
        RequestError,
        '`d` refused the request: [{"type":"json_invalid","loc":["body",28],"msg":"JSON decode error"',
    ),
    (
        TRANSFORMERS,
        422,
        '{"detail":"Unexpected fields in the request: {\'frobnicate\'}"}',
        RequestError,
        "`d` refused the request: Unexpected fields in the request: {'frobnicate'}",
    ),
    (
        TRANSFORMERS,
        500,
        "Internal Server Error",
        UpstreamError,
        "`d` answered with status 500: Internal Server Error",
    ),
    (
        FRONT,
        400,
        '{"error":{"message":"`stream` must be true or false.","type":"invalid_request_error",'
        '"param":"stream","code":null}}',
        RequestError,
        "`d` refused the request: `stream` must be true or false.",
    ),
    (
        FRONT,
        503,
        '{"error":{"message":"The model\'s process has ended.","type":"server_error","param":null,"code":null}}',
        UpstreamError,
        "`d` answered with status 503: The model's process has ended.",
    ),
    (
        RAY,
        404,
        "Path '/nope' not found. Ping http://127.0.0.1:8000/-/routes for available routes.",
        RequestError,
        "`d` refused the request: Path '/nope' not found.",
    ),
    (
        RAY,
        503,
        '{"error": {"message": "No replica could be reached. Try again shortly.", "type": "ray_serve", "code": 503}}',
        UpstreamError,
        "`d` answered with status 503: No replica could be reached.",
    ),
]
"""What they answered, to the letter, whoever is to blame for it."""


@pytest.mark.parametrize(("engine", "status", "said", "kind", "words"), BODIES, ids=lambda each: str(each)[:24])
def test_every_engine_is_understood_in_the_shape_that_it_answers_in(
    engine: str, status: int, said: str, kind: type[ChangeoverError], words: str
) -> None:
    error = classify("d", status, said.encode(), None)

    assert type(error) is kind, engine
    assert words in error.message
    assert (error.retryable, error.source) == (kind is UpstreamError, "model")


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

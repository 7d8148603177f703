"""What an upstream makes of engines that answer, fail, stall and break off, over real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.loopback import BODY, CHUNKED, OK, PATH, Loopback, ask, chunk, whole

from changeover.core.errors import CapacityError, ConfigError, RequestError, UpstreamError
from changeover.serving.patch import Patch
from changeover.serving.upstream import MAX_ANSWER_BYTES, Client, Upstream


async def test_an_answer_arrives_whole_with_its_content_type_and_nothing_else(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(whole(b'{"id":1}', OK + b"Set-Cookie: a=b\r\nX-Key: secret\r\n")))

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
        assert answer.status == 200
        assert answer.headers == {"content-type": "application/json"}
        assert upstream.in_flight == 1
        assert await answer.read() == b'{"id":1}'
    assert upstream.in_flight == 0


async def test_the_engine_gets_its_secret_the_body_and_no_other_header_than_it_needs(
    server: Loopback, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.will(server.answer(whole(b"{}", OK + b"Set-Cookie: a=b\r\n")))

    await ask(upstream)
    await ask(upstream)

    head, _, body = server.requests[1].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {PATH} HTTP/1.1"
    assert body == BODY
    assert {line.partition(":")[0].lower() for line in lines[1:]} == {
        "host", "content-type", "accept-encoding", "authorization", "accept", "content-length",
    }  # fmt: skip
    assert "Authorization: Bearer engine-secret" in lines
    assert "Accept-Encoding: identity" in lines


async def test_what_arrives_together_is_given_together(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(CHUNKED + chunk(b"one "), chunk(b"two ") + chunk(b"three") + b"0\r\n\r\n", pause_s=0.05))

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
        chunks = [piece async for piece in answer.chunks()]

    assert chunks == [b"one ", b"two three"]
    assert upstream.heard >= 2


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "closed the connection before it answered"),
        ((b"HTTP/1.1 200 OK\r\nContent-",), "closed the connection before it answered"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "is no HTTP answer"),
        ((OK + b"Content-Length: 100\r\n\r\n{",), "broke off within its answer"),
        ((CHUNKED + chunk(b"data: 1"),), "broke off within its answer"),
        ((CHUNKED + b"5\r\nda",), "broke off within its answer"),
        ((CHUNKED + b"nonsense\r\n",), "is no HTTP answer"),
        ((CHUNKED + chunk(b"data: 1"), b"nonsense\r\n"), ("broke the connection", "is no HTTP answer")),
        ((OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",), "answered in `gzip`"),
    ],
)
async def test_a_broken_answer_is_the_engines_failure(
    server: Loopback, upstream: Upstream, parts: tuple[bytes, ...], says: str | tuple[str, ...]
) -> None:
    server.will(server.answer(*parts, close=True, pause_s=0.02))

    with pytest.raises(UpstreamError) as caught:
        await ask(upstream)

    assert any(each in caught.value.message for each in ((says,) if isinstance(says, str) else says))
    assert "127.0.0.1" not in caught.value.message
    assert caught.value.retryable
    assert len(server.requests) == 1
    assert upstream.in_flight == 0


async def test_an_engine_that_is_not_there_is_said_to_be_unreachable(unused_tcp_port: int, client: Client) -> None:
    upstream = client.upstream("d", f"http://127.0.0.1:{unused_tcp_port}", None, None)

    with pytest.raises(UpstreamError, match=r"`d` cannot be reached \(connection refused\)"):
        await ask(upstream)
    assert not await upstream.ready()


async def test_a_host_that_does_not_exist_is_said_to_be_unknown(client: Client) -> None:
    with pytest.raises(UpstreamError, match="host name is not known"):
        await ask(client.upstream("d", "http://no-such-host.invalid/v1", None, None))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "sent nothing within 0.5 s"),
        ((CHUNKED,), "began an answer and sent nothing of it in time"),
        ((CHUNKED + chunk(b"data: 1"),), "fell silent for 0.1 s within its answer"),
        ((OK + b"Content-Length: 9\r\n\r\n{",), "fell silent for 0.1 s within its answer"),
    ],
)
async def test_silence_is_a_failure_after_its_time(
    server: Loopback, upstream: Upstream, parts: tuple[bytes, ...], says: str
) -> None:
    server.will(server.answer(*parts))
    began = asyncio.get_running_loop().time()

    with pytest.raises(UpstreamError) as caught:
        await ask(upstream, first_byte_s=0.5, stall_s=0.1)

    assert says in caught.value.message
    assert 0.09 <= asyncio.get_running_loop().time() - began < 5
    async with asyncio.timeout(2):
        await server.closed.wait()


async def test_a_long_prompt_may_take_longer_than_a_pause_within_the_answer(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(CHUNKED, chunk(b"late") + b"0\r\n\r\n", pause_s=0.3))

    assert await ask(upstream, first_byte_s=5, stall_s=0.1) == b"late"


async def test_a_reader_who_takes_time_is_not_the_engines_silence(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(CHUNKED + chunk(b"one "), chunk(b"two") + b"0\r\n\r\n", pause_s=0.02))

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=0.1) as answer:
        pieces: list[bytes] = []
        async for piece in answer.chunks():
            pieces.append(piece)
            await asyncio.sleep(0.35)

    assert b"".join(pieces) == b"one two"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", RequestError),
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4\r\n", CapacityError),
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 4\r\n", CapacityError),
        (b"HTTP/1.1 500 Internal Server Error\r\n", UpstreamError),
    ],
)
async def test_a_refusal_is_known_by_its_status(
    server: Loopback, upstream: Upstream, head: bytes, kind: type[Exception]
) -> None:
    server.will(server.answer(whole(b'{"error":{"message":"no engine-secret, please"}}', head)))

    with pytest.raises(kind) as caught:
        await ask(upstream)

    assert "engine-secret" not in str(caught.value)
    assert upstream.in_flight == 0
    if isinstance(caught.value, CapacityError):
        assert caught.value.retry_after_s == 4.0


async def test_a_refusal_whose_words_never_end_is_still_known_by_its_status(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000))

    with pytest.raises(RequestError):
        await ask(upstream)


async def test_a_redirect_is_not_followed(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(whole(b"", b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\n")))

    with pytest.raises(UpstreamError, match="307"):
        await ask(upstream)
    assert len(server.requests) == 1


async def test_leaving_early_closes_the_connection(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(CHUNKED + chunk(b"data: 1")))

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
        async for _ in answer.chunks():
            break
        assert not server.closed.is_set()

    async with asyncio.timeout(2):
        await server.closed.wait()
    assert upstream.in_flight == 0


@pytest.mark.parametrize("parts", [(), (CHUNKED,)])
async def test_cancelling_closes_the_connection_wherever_it_waits(
    server: Loopback, upstream: Upstream, parts: tuple[bytes, ...]
) -> None:
    server.will(server.answer(*parts))
    task = asyncio.create_task(ask(upstream))
    async with asyncio.timeout(2):
        await server.asked.wait()
    await asyncio.sleep(0.02)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(2):
        await server.closed.wait()
    assert upstream.in_flight == 0
    await upstream.idle()


async def test_a_connection_that_the_engine_closed_unannounced_costs_no_request(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(CHUNKED + chunk(b"{}") + b"0\r\n\r\n", close=True))

    for _ in range(50):
        assert await ask(upstream) == b"{}"

    assert len(server.requests) == 50


async def test_a_connection_is_kept_for_the_next_request(server: Loopback, upstream: Upstream) -> None:
    for _ in range(5):
        await ask(upstream)

    assert server.connections == 1


async def test_a_request_that_failed_on_a_new_connection_is_not_sent_again(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(close=True))

    with pytest.raises(UpstreamError):
        await ask(upstream)
    assert len(server.requests) == 1


async def test_more_requests_than_a_client_usually_allows_are_in_flight_at_once(
    server: Loopback, upstream: Upstream
) -> None:
    everybody = asyncio.Event()

    async def wait_for_everybody(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 150:
            everybody.set()
        await everybody.wait()
        writer.write(whole(b"{}"))

    server.will(wait_for_everybody)

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(ask(upstream) for _ in range(150)))

    assert answers == [b"{}"] * 150


async def test_the_model_is_replaced_and_everything_else_keeps_its_bytes(server: Loopback, client: Client) -> None:
    upstream = client.upstream("d", await server.start() + "/api/v3/", None, "upstream-name")
    body = '{"seed": 12345678901234567890, "model": "task", "temperature": 1.0, "x": "\\u00e9é"}'

    await ask(upstream, body.encode())

    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/v3/chat/completions ")
    assert b"Authorization" not in head
    assert json.loads(sent) == {**json.loads(body), "model": "upstream-name"}
    assert b"12345678901234567890" in sent
    assert b'"\\u00e9\xc3\xa9"' in sent


async def test_a_body_that_is_no_object_cannot_get_a_model(client: Client) -> None:
    upstream = client.upstream("d", "http://127.0.0.1:9", None, "upstream-name")

    with pytest.raises(RequestError):
        await ask(upstream, b"[1]")
    assert upstream.in_flight == 0


@pytest.mark.parametrize("body", [b"{}", b'{"n":1}', b'{"lora":[], "n" : 1 } \n'])
async def test_what_a_deployment_puts_into_every_body_wins_and_the_rest_keeps_its_bytes(
    server: Loopback, client: Client, body: bytes
) -> None:
    patch = Patch(fields={"lora": [{"id": 0, "scale": 0.5}]}, unread=("/v1/messages",))
    upstream = client.upstream("d", await server.start(), None, None, patch=patch)
    await ask(upstream, body)
    await upstream.fetch(PATH, body, first_byte_s=5, stall_s=5)
    for request in server.requests:
        sent = request.partition(b"\r\n\r\n")[2]
        assert sent.startswith(body.rstrip(b"} \n"))
        assert json.loads(sent) == {**json.loads(body), "lora": [{"id": 0, "scale": 0.5}]}

    with pytest.raises(RequestError, match="not a JSON object"):
        await ask(upstream, b"[1]")
    with pytest.raises(RequestError, match="cannot tell them apart under /v1/messages"):
        await upstream.fetch("/v1/messages", body, first_byte_s=5, stall_s=5)
    assert (upstream.in_flight, len(server.requests)) == (0, 2)


async def test_a_body_of_megabytes_is_sent_and_sent_again_where_needed(server: Loopback, upstream: Upstream) -> None:
    body = b'{"messages":"' + b"x" * 3_000_000 + b'"}'
    server.will(server.answer(whole(b"{}"), close=True))

    await ask(upstream, body)
    await ask(upstream, body)

    assert [len(request.partition(b"\r\n\r\n")[2]) for request in server.requests] == [len(body)] * 2


async def test_an_endless_answer_is_not_collected(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(CHUNKED, *[chunk(bytes(1 << 20))] * (MAX_ANSWER_BYTES >> 20), chunk(b"more")))

    with pytest.raises(UpstreamError, match="more than 64 MiB"):
        await ask(upstream)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (b"200 OK", None),
        (b"404 Not Found", None),
        (b"401 Unauthorized", "refuses its key (status 401)"),
        (b"503 Service Unavailable", "answers with status 503"),
        (b"302 Found", "answers with status 302"),
    ],
)
async def test_a_probe_says_why_an_engine_cannot_answer(
    server: Loopback, upstream: Upstream, status: bytes, why: str | None
) -> None:
    server.will(server.answer(whole(b"", b"HTTP/1.1 " + status + b"\r\n")))

    assert await upstream.probe() == why
    assert await upstream.ready() == (why is None)


async def test_a_probe_does_not_wait_for_long(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer())

    assert await upstream.probe(0.05) == "sent nothing within 0.05 s"


async def test_an_answer_can_be_opened_and_closed_without_a_context(server: Loopback, upstream: Upstream) -> None:
    for _ in range(3):
        answer = await upstream.open(PATH, BODY, first_byte_s=5, stall_s=5)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert upstream.in_flight == 1
        assert [await answer.piece(), await answer.piece(), await answer.piece()] == [b"{}", b"", b""]
        answer.close()
        answer.close()
        assert upstream.in_flight == 0

    assert server.connections == 1


async def test_closing_an_open_answer_early_closes_its_connection(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(CHUNKED + chunk(b"data: 1")))

    answer = await upstream.open(PATH, BODY, first_byte_s=5, stall_s=5)
    assert await answer.piece() == b"data: 1"
    answer.close()

    async with asyncio.timeout(2):
        await server.closed.wait()
    await upstream.idle()


async def test_headers_of_the_caller_are_added_to_our_own(server: Loopback, upstream: Upstream) -> None:
    headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("X-Request-Id", "a b\tc")]

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5, headers=headers) as answer:
        assert await answer.read() == b"{}"

    lines = server.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert {f"{name}: {value}" for name, value in headers} < set(lines)
    assert "Authorization: Bearer engine-secret" in lines
    assert server.requests[0].endswith(BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-id", "1\r\nHost: elsewhere"),
        ("x-id", "1\nx: y"),
        ("x-id", "1\ry"),
        ("x-id", "\x00"),
        ("x-id", "é"),
        ("x-id\r\nx", "1"),
        ("x id", "1"),
        ("", "1"),
        ("Host", "elsewhere"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Authorization", "Bearer other"),
    ],
)
async def test_a_header_that_could_change_the_request_is_never_sent(
    server: Loopback, upstream: Upstream, name: str, value: str
) -> None:
    with pytest.raises(RequestError, match="header"):
        await upstream.open(PATH, BODY, first_byte_s=5, stall_s=5, headers=[(name, value)])

    assert server.requests == []
    assert upstream.in_flight == 0


async def test_a_key_with_a_line_break_is_refused_and_not_repeated(client: Client) -> None:
    with pytest.raises(ConfigError, match="line break") as caught:
        client.upstream("d", "http://127.0.0.1:9", "hidden\n", None)
    assert "hidden" not in caught.value.message


async def test_a_body_that_names_its_model_is_sent_as_it_is(server: Loopback, client: Client) -> None:
    upstream = client.upstream("d", await server.start(), None, "upstream-name")

    async with upstream.send(PATH, b"[1]", first_byte_s=5, stall_s=5, as_is=True) as answer:
        await answer.read()

    assert server.requests[0].endswith(b"\r\n\r\n[1]")

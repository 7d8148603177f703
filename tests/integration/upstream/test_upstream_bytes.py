"""What both clients make of an engine's exact bytes: framings of HTTP, and what is none."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from tests.support.loopback import BODY, CHUNKED, OK, PATH, Loopback, ask, chunk, whole

from changeover.core.errors import RequestError, UpstreamError
from changeover.serving.upstream import Client, ClientKind, Upstream

LINE = b"HTTP/1.1 200 OK\r\n"
END = b"0\r\n\r\n"

VALID = {
    "content-length": (whole(b"answer"), b"answer", True),
    "no body": (whole(b""), b"", True),
    "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "no reason after the status": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "headers in capitals": (LINE + b"CONTENT-LENGTH: 2\r\nCONTENT-TYPE: a/b\r\n\r\n{}", b"{}", True),
    "no space after the colon": (LINE + b"Content-Length:2\r\n\r\n{}", b"{}", True),
    "a header without a value": (LINE + b"X-Empty:\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "the same header twice": (LINE + b"X: 1\r\nX: 2\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
    "said to be plain": (whole(b"{}", OK + b"Content-Encoding: identity\r\n"), b"{}", True),
    "chunks": (CHUNKED + chunk(b"one ") + chunk(b"two") + END, b"one two", True),
    "no chunk": (CHUNKED + END, b"", True),
    "a chunk size in capitals, with zeros": (CHUNKED + b"00A\r\n0123456789\r\n" + END, b"0123456789", True),
    "a chunk with an extension": (CHUNKED + b'3;name="value"\r\none\r\n' + END, b"one", True),
    "a chunk size with a space after it": (CHUNKED + b"3 \r\none\r\n" + END, b"one", True),
    "coding in capitals": (LINE + b"Transfer-Encoding: Chunked\r\n\r\n" + chunk(b"one") + END, b"one", True),
    "trailers": (CHUNKED + chunk(b"one") + b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n", b"one", True),
    "an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b"{}"), b"{}", True),
    "interim answers with headers": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Type: no/no\r\n\r\n" * 3 + whole(b"{}"), b"{}", True,
    ),
    "an interim answer before chunks": (b"HTTP/1.1 102 Processing\r\n\r\n" + CHUNKED + chunk(b"1") + END, b"1", True),
    "until the connection ends": (OK + b"\r\none two", b"one two", False),
    "nothing until the connection ends": (OK + b"\r\n", b"", False),
    "announced end": (whole(b"{}", OK + b"Connection: close\r\n"), b"{}", False),
    "announced end, in chunks": (
        LINE + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"1") + END, b"1", False,
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", False),
    "HTTP/1.0 until the connection ends": (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}", False),
}  # fmt: skip
"""Bytes of an answer, its body, and whether the connection can be used again."""


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize("case", VALID)
async def test_every_framing_gives_the_same_body_however_its_bytes_arrive(
    server: Loopback, upstream: Upstream, case: str, pieces: int
) -> None:
    data, body, _ = VALID[case]
    cuts = sorted(random.Random(0).sample(range(1, len(data)), min(pieces - 1, len(data) - 1)))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    server.will(server.answer(*parts, close=True))

    assert await ask(upstream) == body
    assert upstream.in_flight == 0


@pytest.mark.parametrize("case", VALID)
async def test_a_connection_is_kept_exactly_where_the_framing_allows_it(
    server: Loopback, upstream: Upstream, case: str
) -> None:
    data, body, kept = VALID[case]
    server.will(server.answer(data, close=not kept))

    for _ in range(3):
        assert await ask(upstream) == body

    assert server.connections == (1 if kept else 3)
    async with asyncio.timeout(5):
        while server.open != (1 if kept else 0):
            await asyncio.sleep(0.01)


async def test_the_content_type_is_that_of_the_final_answer(server: Loopback, upstream: Upstream) -> None:
    for case, expected in [
        ("content-length", "application/json"),
        ("interim answers with headers", "application/json"),
        ("headers in capitals", "a/b"),
        ("status 204", ""),
    ]:
        server.will(server.answer(VALID[case][0]))
        async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
            assert answer.headers == {"content-type": expected}
            await answer.read()


MALFORMED = {
    "two lengths": LINE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a negative length": LINE + b"Content-Length: -1\r\n\r\n",
    "a length that is no number": LINE + b"Content-Length: two\r\n\r\n{}",
    "a length and chunks": LINE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"1") + END,
    "an endless length": LINE + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "no number where a chunk's size is": CHUNKED + b"size\r\n",
    "an endless chunk size": CHUNKED + b"f" * 40 + b"\r\n{}",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}{}\r\n" + END,
    "a status that is no number": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a version that does not exist": b"HTTP/7.3 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "another protocol": b"* OK IMAP4rev1 ready\r\n",
    "an event without HTTP": b"data: {}\r\n\r\n",
    "a binary record": bytes(range(256)),
    "a name with a zero byte": LINE + b"X\x00: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a request": b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_no_http_answer_is_the_engines_failure_and_its_connection_is_closed(
    server: Loopback, upstream: Upstream, kind: ClientKind, case: str
) -> None:
    server.will(server.answer(MALFORMED[case]))

    with pytest.raises(UpstreamError) as caught:
        await ask(upstream, first_byte_s=1.5, stall_s=1.5)

    assert "127.0.0.1" not in caught.value.message
    assert caught.value.retryable
    if kind == "wire":
        assert caught.value.message == "`d` sent something that is no HTTP answer."
    async with asyncio.timeout(2):
        await server.closed.wait()
    assert len(server.requests) == 1
    assert upstream.in_flight == 0


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        LINE + b"Transfer-Encoding: gzip\r\n\r\n{}",
        LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(b"{}") + END,
        b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n{}" + whole(b"{}"),
    ],
)
@pytest.mark.parametrize("kind", ["wire"], indirect=True)
async def test_an_answer_in_a_form_that_was_not_asked_for_is_none(
    server: Loopback, upstream: Upstream, head: bytes
) -> None:
    server.will(server.answer(head))

    with pytest.raises(UpstreamError, match="no HTTP answer"):
        await ask(upstream)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (LINE + b"X-Long: ", b"x" * 1000),
        (LINE, b"X-Many: x\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\nX-Long: ", b"x" * 1000),
        (CHUNKED + b"1;", b"x" * 1000),
    ],
    ids=["a header", "headers", "interim answers", "a trailer", "a chunk's extension"],
)
@pytest.mark.parametrize("kind", ["wire"], indirect=True)
async def test_what_never_ends_is_cut_off_though_no_deadline_is_over(
    server: Loopback, upstream: Upstream, start: bytes, again: bytes
) -> None:
    async def for_ever(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    server.will(for_ever)

    async with asyncio.timeout(10):
        with pytest.raises(UpstreamError, match="no HTTP answer"):
            await ask(upstream, first_byte_s=60, stall_s=60)
        await server.closed.wait()


@pytest.mark.parametrize("extra", [b"more", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond", b"\x00"])
@pytest.mark.parametrize("frame", [whole(b"{}"), CHUNKED + chunk(b"{}") + END])
@pytest.mark.parametrize("apart_s", [0.0, 0.03])
async def test_bytes_after_the_answer_reach_nobody(
    server: Loopback, upstream: Upstream, kind: ClientKind, frame: bytes, extra: bytes, apart_s: float
) -> None:
    server.will(server.answer(*((frame, extra) if apart_s else (frame + extra,)), pause_s=apart_s))

    if kind == "wire":
        assert await ask(upstream) == b"{}"
        async with asyncio.timeout(2):
            await server.closed.wait()
    else:
        with suppress(UpstreamError):  # aiohttp fails an answer that such bytes arrive with
            assert await ask(upstream) == b"{}"
    await asyncio.sleep(2 * apart_s + 0.02)

    server.will(server.answer(whole(b"next")))
    assert await ask(upstream) == b"next"


async def test_a_refusal_that_ends_keeps_its_connection(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(whole(b'{"error":"no"}', b"HTTP/1.1 400 Bad Request\r\n")))

    for _ in range(3):
        with pytest.raises(RequestError, match="no"):
            await ask(upstream)

    assert server.connections == 1
    assert upstream.in_flight == 0


async def test_the_host_header_names_host_and_port_and_the_path_is_that_of_the_address(
    server: Loopback, client: Client
) -> None:
    address = await server.start()
    for base, path in [
        ("", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/a%20b", "/a%20b/chat/completions"),
    ]:
        await ask(client.upstream("d", address + base, None, None))
        lines = server.requests[-1].decode().split("\r\n")
        assert lines[0] == f"POST {path} HTTP/1.1"
        assert f"Host: {address.removeprefix('http://')}" in lines

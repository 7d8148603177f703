"""Connections to engines: reused, stale, half-closed, full, cancelled, encrypted, and never left behind."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from tests.support.loopback import BODY, CHUNKED, OK, PATH, Loopback, ask, chunk, whole

from changeover.core.errors import CapacityError, ChangeoverError, ConfigError, RequestError, UpstreamError
from changeover.serving.upstream import Client, ClientKind, Upstream
from changeover.serving.upstream.wire import WireClient

END = b"0\r\n\r\n"
only_wire = pytest.mark.parametrize("kind", ["wire"], indirect=True)


@pytest.fixture
async def forgetful() -> AsyncIterator[WireClient]:
    """Our own client, which keeps connections for a shorter time."""
    client = WireClient(keepalive_s=1.0)
    yield client
    await client.close()


async def closed(server: Loopback) -> None:
    """Wait until the server has no connection any more."""
    async with asyncio.timeout(5):
        while server.open:
            await asyncio.sleep(0.01)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crashed process does whose buffers were full."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# Kept connections.


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_on_a_kept_connection_that_ends_without_a_byte_is_sent_again(
    server: Loopback, upstream: Upstream, how: str
) -> None:
    async def once_more(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 2:
            reset(writer) if how == "reset" else writer.close()
        else:
            writer.write(whole(b"%d" % len(server.requests)))

    server.will(once_more)

    assert [await ask(upstream), await ask(upstream)] == [b"1", b"3"]
    assert server.connections == 2
    assert upstream.in_flight == 0


@only_wire
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_a_request_is_not_sent_again_once_anything_of_an_answer_has_arrived(
    server: Loopback, upstream: Upstream, begun: bytes
) -> None:
    await ask(upstream)
    server.will(server.answer(begun, close=True, pause_s=0.02))

    with pytest.raises(UpstreamError, match="closed the connection before it answered"):
        await ask(upstream)
    assert len(server.requests) == 2


async def test_silence_on_a_kept_connection_is_not_asked_twice(server: Loopback, upstream: Upstream) -> None:
    await ask(upstream)
    server.will(server.answer())

    with pytest.raises(UpstreamError, match="sent nothing within"):
        await ask(upstream, first_byte_s=0.1)
    assert len(server.requests) == 2


async def test_a_connection_that_the_engine_closed_while_idle_is_not_used(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(whole(b"{}"), close=True))

    for _ in range(3):
        assert await ask(upstream) == b"{}"
        await asyncio.sleep(0.03)
    await closed(server)
    assert server.connections == 3


async def test_an_idle_connection_is_closed_before_engines_close_it(server: Loopback, forgetful: WireClient) -> None:
    upstream = forgetful.upstream("d", await server.start(), None, None)
    await asyncio.gather(*(ask(upstream) for _ in range(5)))
    assert server.open

    await closed(server)
    assert not forgetful.watch.live

    assert await ask(upstream) == b"{}"


async def test_connections_that_are_used_all_the_time_are_not_closed(server: Loopback, forgetful: WireClient) -> None:
    upstream = forgetful.upstream("d", await server.start(), None, None)
    for _ in range(24):
        await ask(upstream)
        await asyncio.sleep(0.05)

    assert server.connections == 1


# Half-closed connections.


async def test_an_engine_that_ends_its_side_before_it_answers_has_closed_the_connection(
    server: Loopback, upstream: Upstream
) -> None:
    async def end(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await asyncio.sleep(10)

    server.will(end)

    with pytest.raises(UpstreamError, match="closed the connection before it answered"):
        await ask(upstream)


@pytest.mark.parametrize("data", [whole(b"{}"), CHUNKED + chunk(b"{}") + END, OK + b"\r\n{}"])
async def test_an_engine_that_ends_its_side_after_the_answer_is_asked_over_another_connection(
    server: Loopback, upstream: Upstream, data: bytes
) -> None:
    async def end(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.write_eof()

    server.will(end)

    for _ in range(3):
        assert await ask(upstream) == b"{}"
        await asyncio.sleep(0.02)
    assert len(server.requests) == server.connections == 3


@pytest.mark.parametrize("data", [b"", OK + b"Content-Length: 9\r\n\r\n{", CHUNKED + chunk(b"{"), OK + b"\r\n{"])
async def test_a_connection_that_is_reset_never_gives_a_whole_answer(
    server: Loopback, upstream: Upstream, kind: ClientKind, data: bytes
) -> None:
    if kind == "aiohttp" and data == OK + b"\r\n{":
        pytest.skip("aiohttp takes a reset for the end of a body that ends with its connection")

    async def act(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.sleep(0.03)
        reset(writer)

    server.will(act)

    with pytest.raises(UpstreamError, match=r"broke the connection|broke off|closed the connection"):
        await ask(upstream)
    assert upstream.in_flight == 0


# How much is in flight.


async def test_an_engine_is_read_no_faster_than_its_answer_is_taken(server: Loopback, upstream: Upstream) -> None:
    size, written = 48 << 20, 0

    async def flood(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(bytes(1 << 20))
            await writer.drain()
            written += 1 << 20

    server.will(flood)

    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
        read = len(await answer.piece())
        await asyncio.sleep(0.3)
        assert written < size / 2
        async for piece in answer.chunks():
            read += len(piece)

    assert read == size
    assert await ask_after(server, upstream) == b"{}"


async def ask_after(server: Loopback, upstream: Upstream) -> bytes:
    server.will(server.answer(whole(b"{}")))
    return await ask(upstream)


async def test_a_large_body_reaches_an_engine_that_reads_slowly(upstream_of_slow: tuple[Upstream, list[int]]) -> None:
    upstream, received = upstream_of_slow
    body = b'{"messages":"' + b"x" * (12 << 20) + b'"}'

    assert await ask(upstream, body, first_byte_s=20) == b"{}"
    assert received == [len(body)]


@pytest.fixture
async def upstream_of_slow(client: Client) -> AsyncIterator[tuple[Upstream, list[int]]]:
    """An engine that reads 256 KiB at a time, and how long the bodies were that it got."""
    received: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            left = length
            while left:
                left -= len(await reader.readexactly(min(left, 256 << 10)))
                await asyncio.sleep(0.002)
            received.append(length)
            writer.write(whole(b"{}"))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield client.upstream("d", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None, None), received
    listener.close()


@only_wire
async def test_an_engine_that_refuses_a_large_body_unread_is_understood(client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b"too large", b"HTTP/1.1 413 Too Large\r\n"))
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = client.upstream("d", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None, None)

    with pytest.raises(RequestError, match="too large"):
        await ask(upstream, b"x" * (32 << 20))

    assert isinstance(client, WireClient)
    async with asyncio.timeout(2):
        while client.watch.live:  # half of a body was sent: nothing else may follow it
            await asyncio.sleep(0.01)
    gone.set()
    listener.close()


# Whoever leaves.


@only_wire
async def test_leaving_while_a_refusal_is_read_closes_the_connection(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{"))
    task = asyncio.create_task(ask(upstream))
    await server.asked.wait()
    await asyncio.sleep(0.05)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(server)
    assert upstream.in_flight == 0


async def test_leaving_with_the_whole_answer_unread_disturbs_nobody(server: Loopback, upstream: Upstream) -> None:
    for number in range(10):
        server.will(server.answer(whole(b"%d" % number)))
        async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5):
            pass
        assert await ask(upstream) == b"%d" % number

    assert upstream.in_flight == 0


async def test_leaving_while_a_body_is_being_sent_stops_sending(client: Client) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await asyncio.sleep(0.1)
        with suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        over.set()
        writer.close()

    asked = asyncio.Event()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = client.upstream("d", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None, None)
    task = asyncio.create_task(ask(upstream, bytes(64 << 20)))
    await asked.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await over.wait()
    assert upstream.in_flight == 0
    listener.close()


@only_wire
async def test_closing_the_client_ends_every_answer_and_every_wait(server: Loopback, client: Client) -> None:
    upstream = client.upstream("d", await server.start(), None, None)
    server.will(server.answer(CHUNKED + chunk(b"one")))
    answer = await upstream.open(PATH, BODY, first_byte_s=5, stall_s=5)
    assert await answer.piece() == b"one"
    server.will(server.answer())
    tasks = [asyncio.create_task(answer.piece()), asyncio.create_task(ask(upstream))]
    await asyncio.sleep(0.05)

    await client.close()

    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, UpstreamError)
    answer.close()
    assert upstream.in_flight == 0
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await ask(upstream)
    await closed(server)


# Time.


@only_wire
async def test_a_process_of_ours_that_was_slow_does_not_take_the_engine_for_silent(client: Client) -> None:
    """Bytes that arrived in time count, even if a timer that was due meanwhile comes first."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            time.sleep(0.05)
            connection.sendall(whole(b"{}"))
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        upstream = client.upstream("d", f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
        task = asyncio.create_task(ask(upstream, first_byte_s=0.2, stall_s=0.2))
        await asyncio.sleep(0.02)
        time.sleep(0.5)  # noqa: ASYNC251 - the event loop is blocked on purpose
        assert await task == b"{}"
        await client.close()
        await asyncio.to_thread(thread.join)


@only_wire
async def test_one_timer_keeps_the_limits_of_many_requests(server: Loopback, upstream: Upstream) -> None:
    server.will(server.answer())
    limits = [0.05 * (1 + number % 6) for number in range(60)]
    loop = asyncio.get_running_loop()

    async def lasted(limit_s: float) -> float:
        began = loop.time()
        with pytest.raises(UpstreamError, match=f"within {limit_s:g} s"):
            await ask(upstream, first_byte_s=limit_s)
        return loop.time() - began

    took = await asyncio.gather(*(lasted(limit) for limit in limits))

    assert all(limit - 0.01 <= seconds < limit + 1.0 for limit, seconds in zip(limits, took, strict=True))
    await closed(server)


async def test_connecting_takes_no_longer_than_its_limit() -> None:
    hasty = WireClient(connect_s=0.3)
    with full_listener() as port:
        upstream = hasty.upstream("d", f"http://127.0.0.1:{port}", None, None)
        with pytest.raises(UpstreamError, match="connecting took too long"):
            await ask(upstream)
        with pytest.raises(UpstreamError, match=r"sent nothing within 0.1 s"):
            await ask(upstream, first_byte_s=0.1)
        assert await upstream.probe(0.1) == "sent nothing within 0.1 s"
        task = asyncio.create_task(ask(upstream))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert upstream.in_flight == 0
    await hasty.close()


@contextmanager
def full_listener() -> Iterator[int]:
    """A port where nobody takes connections and no more are queued."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting: list[socket.socket] = []
        try:
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


# Addresses.


async def test_an_address_of_ipv6_is_asked_and_named_as_a_host(server: Loopback, client: Client) -> None:
    try:
        address = await server.start("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")

    assert await ask(client.upstream("d", address, None, None)) == b"{}"
    assert f"Host: {address.removeprefix('http://')}\r\n".encode() in server.requests[0]


async def test_a_host_by_name_is_asked_though_only_one_of_its_addresses_listens(
    server: Loopback, client: Client, unused_tcp_port: int
) -> None:
    address = (await server.start()).replace("127.0.0.1", "localhost")

    assert await ask(client.upstream("d", address, None, None)) == b"{}"
    with pytest.raises(UpstreamError, match="connection refused"):
        await ask(client.upstream("d", f"http://localhost:{unused_tcp_port}", None, None))


@only_wire
@pytest.mark.parametrize("address", ["ftp://host", "host:80", "http://"])
async def test_an_address_that_is_none_is_a_mistake_of_the_declaration(client: Client, address: str) -> None:
    with pytest.raises(ConfigError):
        client.upstream("d", address, None, None)


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that only those trust who are told to, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    both = directory / "both.pem"
    both.write_bytes((directory / "cert.pem").read_bytes() + (directory / "key.pem").read_bytes())
    return both


def speaking(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@only_wire
async def test_an_engine_behind_tls_is_asked_when_its_certificate_is_trusted(
    server: Loopback, client: Client, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    address = (await server.start(tls=speaking(certificate))).replace("127.0.0.1", "localhost")
    upstream = client.upstream("d", address, "engine-secret", None)
    assert await upstream.ready()

    for data in [whole(b"{}"), CHUNKED + chunk(b"{}") + END]:
        server.will(server.answer(data))
        assert [await ask(upstream) for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 2
    server.will(server.answer(CHUNKED, *[chunk(bytes(100_000))] * 20, END))
    assert len(await ask(upstream, b"x" * (2 << 20))) == 2_000_000

    server.will(server.answer(OK + b"\r\n{}", close=True))
    assert await ask(upstream) == b"{}"
    server.will(server.answer(CHUNKED + chunk(b"{}"), close=True))
    with pytest.raises(UpstreamError, match="broke off"):
        await ask(upstream)
    server.will(server.answer(CHUNKED + chunk(b"{}")))
    with pytest.raises(UpstreamError, match="fell silent"):
        await ask(upstream, stall_s=0.1)
    async with upstream.send(PATH, BODY, first_byte_s=5, stall_s=5) as answer:
        await answer.piece()
    await closed(server)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: Loopback, client: Client, certificate: Path
) -> None:
    address = (await server.start(tls=speaking(certificate))).replace("127.0.0.1", "localhost")

    with pytest.raises(UpstreamError, match="its TLS certificate or handshake was refused"):
        await ask(client.upstream("d", address, "engine-secret", None))
    assert server.requests == []


@only_wire
async def test_a_certificate_of_another_host_is_refused(
    server: Loopback, client: Client, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    address = await server.start(tls=speaking(certificate))

    with pytest.raises(UpstreamError, match="its TLS certificate or handshake was refused"):
        await ask(client.upstream("d", address, "engine-secret", None))
    assert server.requests == []


async def test_an_engine_that_speaks_no_tls_is_told_apart(server: Loopback, client: Client) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    greeting = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = greeting.sockets[0].getsockname()[1]

    with pytest.raises(UpstreamError, match="its TLS certificate or handshake was refused"):
        await ask(client.upstream("d", f"https://127.0.0.1:{port}", None, None))
    greeting.close()


# Nothing is left behind.


def sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


async def test_five_hundred_requests_of_all_kinds_leave_nothing_behind(server: Loopback, client: Client) -> None:
    upstream = client.upstream("d", await server.start(), None, None)
    luck = random.Random(7)
    acts = [
        server.answer(whole(b"{}")),
        server.answer(CHUNKED, chunk(b"one"), chunk(b"two") + END, pause_s=0.002),
        server.answer(CHUNKED + chunk(b"one")),
        server.answer(CHUNKED + chunk(b"one"), close=True),
        server.answer(),
        server.answer(close=True),
        server.answer(b"nonsense\r\n\r\n"),
        server.answer(whole(b"{}", b"HTTP/1.1 429 Busy\r\n")),
        server.answer(b"HTTP/1.1 500 Broken\r\nContent-Length: 9\r\n\r\n{", close=True),
        server.answer(whole(b"{}") + b"more"),
        server.answer(whole(b"{}", OK + b"Connection: close\r\n"), close=True),
    ]

    async def act(request: bytes, writer: asyncio.StreamWriter) -> None:
        await luck.choice(acts)(request, writer)

    async def one(number: int) -> None:
        with suppress(ChangeoverError, TimeoutError):
            async with asyncio.timeout(luck.choice([0.005, 0.05, 5])):
                if number % 3:
                    await ask(upstream, first_byte_s=0.2, stall_s=0.1)
                    return
                async with upstream.send(PATH, BODY, first_byte_s=0.2, stall_s=0.1) as answer:
                    await answer.piece()

    server.will(act)
    tasks_before = asyncio.all_tasks()
    for start in range(0, 500, 50):
        await asyncio.gather(*(one(number) for number in range(start, start + 50)))

    assert upstream.in_flight == 0
    async with asyncio.timeout(2):
        await upstream.idle()
    server.will(server.answer(whole(b"{}")))
    assert await ask(upstream) == b"{}"
    await client.close()
    await closed(server)
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - tasks_before:
            await asyncio.sleep(0.01)
    if isinstance(client, WireClient):
        assert not client.watch.live
        assert client.watch.next_at == float("inf")


async def test_an_engine_that_is_busy_leaves_no_connection_that_nobody_needs(
    server: Loopback, upstream: Upstream
) -> None:
    server.will(server.answer(whole(b"{}", b"HTTP/1.1 429 Busy\r\nRetry-After: 2\r\n")))
    before = sockets()

    for _ in range(20):
        with pytest.raises(CapacityError):
            await ask(upstream)

    assert sockets() - before <= 2  # both ends of one connection

"""A caller's connection: what comes in one piece or in several, and callers that do not read, on a real server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.projects import deploy_echo, open_written, running, write_project

from changeover.gateway.connection import HIGH_WATER, MOST_HEAD_BYTES, Connection
from changeover.gateway.http import BodyLimit, Head, send_json
from changeover.gateway.server import Server
from changeover.serving.upstream.outbox import Outbox


class Asked:
    """One request, as the door below sees it."""

    def __init__(self, head: Head) -> None:
        self.path = head.path
        self.left = self.late = False
        self.most_body = BodyLimit(100, "door.small") if self.path == "/small" else None
        self.query = head.query
        self.deadline = float("inf")
        self.upload = None
        self.keeps_body = self.path != "/refused"


class Door:
    """Answers each request with its path, and as much more as it was told to."""

    def __init__(self) -> None:
        self.more = 0
        self.answered: list[str] = []
        self.queries: list[str] = []
        self.abandoned_paths: list[str] = []

    def begin(self, head: Head) -> Asked:
        return Asked(head)

    async def answer(self, request: Asked, body: bytes, reply: Any) -> None:
        if request.path == "/slow":
            await asyncio.sleep(0.2)
        self.answered.append(request.path)
        self.queries.append(request.query)
        send_json(reply, 200, {"path": request.path, "body": len(body), "more": "x" * self.more})

    def abandoned(self, request: Asked) -> None:
        self.abandoned_paths.append(request.path)


class Up:
    """A server, and the connections that it has."""

    def __init__(self, door: Door, server: Server, port: int) -> None:
        self.door = door
        self.port = port
        self._server = server

    @property
    def connections(self) -> set[Connection]:
        return self._server._state.connections

    async def caller(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def until_closed(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(5):
            return await reader.read()


@pytest.fixture
async def up() -> AsyncGenerator[Up]:
    door = Door()
    server = Server(door, most_body_bytes=1 << 20, arrival_s=1.0, drain_s=1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(listener))
    await asyncio.sleep(0)
    yield Up(door, server, listener.getsockname()[1])
    server.stop()
    server.stop()
    await serving


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", *headers, "", ""]).encode()


async def test_what_is_no_request_behind_a_good_one_ends_the_connection_after_the_answer(up: Up) -> None:
    for behind in (b"\0\0rubbish", b"POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n"):
        reader, writer = await up.caller()
        writer.write(get("/good") + behind)
        said = await up.until_closed(reader)
        assert said.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in said
        writer.close()
    await asyncio.sleep(0.05)
    assert not up.connections


async def test_what_follows_a_request_for_another_protocol_is_no_request(up: Up) -> None:
    inner = get("/smuggled")
    head = f"POST /outer HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\ncontent-length: {len(inner)}\r\n\r\n"
    reader, writer = await up.caller()
    writer.write(head.encode())
    await asyncio.sleep(0.05)
    writer.write(inner)
    said = await up.until_closed(reader)
    assert up.door.answered == ["/outer"]
    assert said.count(b"HTTP/1.1") == 1
    assert b"connection: close" in said
    writer.close()


async def test_a_head_that_comes_in_pieces_has_the_same_bound(up: Up) -> None:
    piece = b"".join(b"x-%d: %b\r\n" % (n, b"y" * 1000) for n in range(MOST_HEAD_BYTES * 15 // 16 // 1010))
    reader, writer = await up.caller()
    writer.write(b"GET /long HTTP/1.1\r\nhost: x\r\n" + piece)
    await asyncio.sleep(0.1)
    writer.write(piece + b"\r\n")
    assert (await up.until_closed(reader)).startswith(b"HTTP/1.1 431")
    assert up.door.answered == []
    writer.close()


async def test_answers_that_nobody_reads_wait_in_a_bounded_space(up: Up) -> None:
    up.door.more = 40_000
    callers = [await up.caller() for _ in range(4)]
    for _, writer in callers:
        writer.write(get("/large") * 1000)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.gather(*(writer.drain() for _, writer in callers))
    await asyncio.sleep(0.3)
    waiting = [connection._transport.get_write_buffer_size() for connection in up.connections]
    assert len(waiting) == 4
    assert max(waiting) < 2 * HIGH_WATER + up.door.more
    for _, writer in callers:
        writer.transport.abort()


async def test_a_refused_caller_that_has_not_read_costs_no_other_caller_its_answer(up: Up) -> None:
    up.door.more = 400_000
    reader, writer = await up.caller()
    writer.write(get("/first"))
    await asyncio.sleep(0.1)  # its answer fills the buffers
    writer.write(get("/early"))
    await asyncio.sleep(0.1)
    writer.write(b"\0\0rubbish")
    await asyncio.sleep(0.1)
    others = [await up.caller() for _ in range(8)]
    for _, other in others:
        other.write(get("/slow"))
    await reader.read(1 << 20)  # now the first one reads, and room comes
    for other_reader, other in others:
        async with asyncio.timeout(5):
            assert (await other_reader.readline()).startswith(b"HTTP/1.1 200")
        other.transport.abort()
    writer.transport.abort()
    assert "/early" in [*up.door.abandoned_paths, *up.door.answered]


async def test_many_requests_at_once_on_many_connections_are_answered_in_their_order(up: Up) -> None:
    async def ask(number: int) -> list[str]:
        reader, writer = await up.caller()
        paths = [f"/{number}-{n}" if n % 3 else "/slow" for n in range(12)]
        writer.write(b"".join(get(path) for path in paths))
        writer.write(get("/last", "connection: close"))
        said = await up.until_closed(reader)
        writer.close()
        found = [part.split(b'"')[0].decode() for part in said.split(b'{"path":"')[1:]]
        assert found == [*paths, "/last"]
        return found

    assert len(await asyncio.gather(*(ask(number) for number in range(20)))) == 20


class Wire(asyncio.Transport):
    """A transport that keeps what is written, or that takes nothing."""

    def __init__(self, problem: Exception | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.written = b""
        self.aborted = False

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.problem is not None:
            raise self.problem
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True


async def test_a_connection_that_takes_nothing_loses_only_its_own_bytes() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    first, broken, last = Wire(), Wire(RuntimeError("Cannot call write() after write_eof()")), Wire()
    for wire in (first, broken, last):
        outbox.send(wire, b"a", alone=False)
    outbox.send(first, b"b", alone=True)
    assert first.written == b"", "it waits behind what was there before"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (first.written, last.written) == (b"ab", b"a")
    assert broken.aborted
    outbox.send(last, b"c", alone=True)
    assert last.written == b"ac", "alone, it does not wait"


async def test_a_body_that_comes_slowly_takes_no_time_from_the_answer(tmp_path: Path) -> None:
    async with running(open_written(write_project(tmp_path / "p", timeout_s=1))) as up:
        slow = deploy_echo(up.installation, "slow", delay_s=0.6)
        await up.ready("echo", "slow")
        async with aiohttp.ClientSession(up.address, headers=up.headers(up.operator)) as http:

            async def drops() -> AsyncGenerator[bytes]:
                yield f'{{"model": "echo@{slow.id}", "messages": '.encode()
                await asyncio.sleep(1.6)
                yield b'[{"role": "user", "content": "hi"}]}'

            async with http.post("/v1/chat/completions", data=drops()) as response:
                assert response.status == 200, await response.text()


async def test_a_request_may_have_a_limit_of_its_own_for_its_body(up: Up) -> None:
    for path, said in (("/small", b"413"), ("/any", b"200")):
        for framing in (
            b"content-length: 101\r\n\r\n" + b"x" * 101,
            b"transfer-encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
        ):
            reader, writer = await up.caller()
            writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%b" % (path.encode(), framing))
            if b"chunked" in framing:
                writer.write(b"\r\n0\r\n\r\n")
            answer = await up.until_closed(reader)
            assert answer.startswith(b"HTTP/1.1 " + said), answer
            assert (b"raise `door.small`" in answer) == (path == "/small")
            writer.close()


async def test_a_caller_who_is_refused_may_send_to_the_end_and_then_reads_why(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("changeover.gateway.connection.LINGER_S", 0.5)
    reader, writer = await up.caller()
    writer.write(b"POST /small HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    for _ in range(10):
        writer.write(b"x" * 100_000)
        await writer.drain()
        await asyncio.sleep(0.1)
    assert len(up.connections) == 1
    assert (await reader.read(12)) == b"HTTP/1.1 413"
    await up.until_closed(reader)
    async with asyncio.timeout(5):
        while up.connections:
            await asyncio.sleep(0.05)
    writer.close()


async def test_a_query_is_no_part_of_the_path_and_stays_as_it_was_sent(up: Up) -> None:
    reader, writer = await up.caller()
    for url in ("/a?as=stream%20x&b", "/a", "/a?", "/a?as=job"):
        writer.write(get(url))
    writer.write(get("/end", "connection: close"))
    await up.until_closed(reader)
    assert up.door.answered == ["/a"] * 4 + ["/end"]
    assert up.door.queries == ["as=stream%20x&b", "", "", "as=job", ""]
    writer.close()


async def test_a_body_that_comes_in_many_small_pieces_is_whole(up: Up) -> None:
    pieces = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in [*range(1, 60), 2, 2, 1] * 20)
    reader, writer = await up.caller()
    writer.write(b"POST /any HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
    for start in range(0, len(pieces), 4_001):
        writer.write(pieces[start : start + 4_001])
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    assert b'"body":35500' in await up.until_closed(reader)
    writer.close()


async def test_of_a_request_whose_answer_is_known_no_body_is_kept(up: Up) -> None:
    for path, kept in ((b"/refused", b'"body":0'), (b"/any", b'"body":5000')):
        reader, writer = await up.caller()
        head = b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5000\r\n\r\n" % path
        writer.write(head + b"x" * 5_000)
        assert kept in await up.until_closed(reader)
        writer.close()

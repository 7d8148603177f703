"""Many uploads at once, over real sockets: what they may take together, and that all of it is given back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.support.projects import Running, open_written, running, write_project
from tests.support.tool_calls import Caller, write_tool

from changeover.gateway.keys import issue_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIB = 1 << 10
ROOM = 1024 * KIB
SIZE = 160 * KIB
KEYS = ("ana", "ben", "cleo")
SETTINGS = """ready_wait_s = 5
[jobs]
at_once = 12
max_upload_mib = 0.5
all_uploads_mib = 1
"""
BEGINS = b'--x\r\ncontent-disposition: form-data; name="text"\r\n\r\none\r\n' + (
    b'--x\r\ncontent-disposition: form-data; name="papers"; filename="a.txt"\r\n\r\n'
)
ENDS = b"\r\n--x--\r\n"
BODY = BEGINS + b"word " * ((SIZE - len(BEGINS) - len(ENDS)) // 5) + ENDS


@dataclass
class Sender:
    """A caller that sends a body bit by bit."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def of(cls, port: int, key: str, framing: str, path: str) -> Sender:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = (
            f"POST {path} HTTP/1.1",
            "host: x",
            f"authorization: Bearer {key}",
            "content-type: multipart/form-data; boundary=x",
            framing,
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON; then the connection is closed."""
        async with asyncio.timeout(20):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        self.writer.close()
        return int(first.split()[1]), headers, json.loads(body)


@dataclass
class Stage:
    """The system, and keys by their name."""

    up: Running
    port: int
    keys: dict[str, str]
    caller: Caller
    most: int = field(default=0)
    """Bytes that were counted at once, of all looks."""

    async def taken(self) -> int:
        taken = (await self.caller.ask("GET", "/healthz"))[1]["upload_bytes"]
        self.most = max(self.most, taken)
        return taken

    async def until(self, taken: int) -> None:
        async with asyncio.timeout(10):
            while await self.taken() != taken:
                await asyncio.sleep(0.01)

    async def sender(self, key: str, length: int | None = len(BODY), path: str = "/v1/tools/say") -> Sender:
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        return await Sender.of(self.port, self.keys[key], framing, path)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    project = write_project(tmp_path_factory.mktemp("room") / "p", gateway=SETTINGS)
    write_tool(project)
    write_tool(project, "stuck", echo="delay_s = 30.0")
    async with running(open_written(project)) as up:
        now = up.installation.clock.now()
        with up.installation.store.write() as connection:
            keys = {name: issue_key(connection, name=name, role="application", now=now) for name in KEYS}
        await up.ready("echo", "echo-stuck.say", timeout_s=60)
        async with aiohttp.ClientSession(up.address) as http:
            caller = Caller(http, up.headers(up.operator))
            async with asyncio.timeout(20):
                while (await Caller(http, up.headers(keys["cleo"])).ask("GET", "/v1/models"))[0] == 401:
                    await asyncio.sleep(0.05)
            yield Stage(up, int(up.address.rpartition(":")[2]), keys, caller)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_of_many_slow_uploads_so_many_come_in_as_there_is_room_for_and_the_others_are_told(stage: Stage) -> None:
    senders = [await stage.sender(KEYS[number % 3]) for number in range(15)]
    for sender in senders:
        with contextlib.suppress(ConnectionError):
            await sender.send(BODY[: 60 * KIB])
        assert await stage.taken() <= ROOM
    await stage.until(6 * len(BODY))
    waiting = [asyncio.create_task(sender.answer()) for sender in senders]
    for sender in senders:
        with contextlib.suppress(ConnectionError):  # the refused ones may have been told already
            await sender.send(BODY[60 * KIB :])
        await stage.taken()
    said = await asyncio.gather(*waiting)
    refused = [(headers, answer["error"]) for status, headers, answer in said if status == 429]
    assert sorted(status for status, _, _ in said) == [200] * 6 + [429] * 9
    assert stage.most <= ROOM
    for headers, error in refused:
        assert int(headers["retry-after"]) == 5
        assert (error["code"], error["source"], error["type"]) == ("over_capacity", "gateway", "rate_limit_error")
        assert "`jobs.all_uploads_mib`" in error["message"]
    assert any("Try again in a few seconds" in error["message"] for _, error in refused)
    assert await stage.taken() == 0


async def test_one_key_leaves_room_for_another(stage: Stage) -> None:
    first = [await stage.sender("ana") for _ in range(3)]
    await stage.until(3 * len(BODY))
    status, _, answer = await (await stage.sender("ana")).answer()
    assert (status, answer["error"]["code"]) == (429, "over_capacity")
    assert "Uploads of this key take 0.5 MiB already" in answer["error"]["message"]
    assert "Send fewer at once" in answer["error"]["message"]
    other = await stage.sender("ben")
    await other.send(BODY)
    assert (await other.answer())[0] == 200
    for sender in first:
        await sender.send(BODY)
        assert (await sender.answer())[0] == 200
    assert await stage.taken() == 0


async def test_who_leaves_in_the_middle_takes_nothing_with_them(stage: Stage) -> None:
    for length in (len(BODY), None):
        senders = [await stage.sender(key, length) for key in KEYS]
        part = BODY[: 100 * KIB]
        for sender in senders:
            await sender.send(part if length else chunk(part))
        await stage.until(3 * (length or len(part)))
        for sender in senders:
            sender.writer.transport.abort()
        await stage.until(0)


async def test_a_body_without_a_length_counts_as_it_comes_and_is_refused_where_the_room_ends(stage: Stage) -> None:
    held = [await stage.sender(key, 450 * KIB) for key in ("ana", "ben")]
    await stage.until(900 * KIB)
    late = await stage.sender("cleo", None)
    await late.send(chunk(BODY[: 100 * KIB]))
    await stage.until(1000 * KIB)
    await late.send(chunk(BODY[100 * KIB :]))
    status, headers, answer = await late.answer()
    assert (status, headers["retry-after"]) == (429, "5")
    assert "Uploads take 1.0 of 1 MiB already" in answer["error"]["message"]
    await stage.until(900 * KIB)
    held[0].writer.transport.abort()
    await stage.until(450 * KIB)
    again = await stage.sender("cleo", None)
    await again.send(b"".join(chunk(BODY[start : start + 1_000]) for start in range(0, len(BODY), 1_000)) + chunk(b""))
    status, _, answer = await again.answer()
    assert (status, answer["value"]["papers"]) == (200, 1)
    held[1].writer.transport.abort()
    await stage.until(0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/tools/say", b"--x\r\nno form", 400),
        ("/v1/tools/say?as=nothing", BODY, 400),
        ("/v1/tools/none", BODY, 404),
        ("/v1/tools/say", b"x" * (520 * KIB), 413),
        ("/v1/tools/say?as=job", BODY, 202),
    ],
)
async def test_whatever_the_answer_the_room_is_given_back(stage: Stage, path: str, body: bytes, status: int) -> None:
    sender = await stage.sender("ana", len(body), path)
    await sender.send(body)
    assert (await sender.answer())[0] == status
    assert await stage.taken() == 0


async def test_a_body_counts_while_its_tool_runs_and_no_longer(stage: Stage) -> None:
    for path in ("/v1/tools/stuck", "/v1/tools/stuck?as=stream"):
        sender = await stage.sender("ana", path=path)
        await sender.send(BODY)
        async with asyncio.timeout(10):
            while not (await stage.caller.ask("GET", "/healthz"))[1]["tools_running"]:
                await asyncio.sleep(0.02)
        assert await stage.taken() == len(BODY)
        sender.writer.transport.abort()
        await stage.until(0)


async def test_requests_that_wait_behind_another_count_too(stage: Stage) -> None:
    sender = await stage.sender("ana", path="/v1/tools/stuck")
    head = f"POST /v1/tools/say HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stage.keys['ana']}\r\n"
    await sender.send(BODY + f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
    await stage.until(2 * len(BODY))
    sender.writer.transport.abort()
    await stage.until(0)

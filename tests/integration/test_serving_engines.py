"""The echo engine as a real process behind a real upstream: its secret, its faults, and that it notices who leaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from changeover.core.errors import CapacityError, ChangeoverError, NotReadyError, UpstreamError
from changeover.serving.backends import EchoBackend
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, Ready
from changeover.serving.upstream import Client, ClientKind, Upstream, make_client

PATH = "/v1/chat/completions"


@asynccontextmanager
async def echo(directory: Path, **options: Json) -> AsyncIterator[Ready]:
    plan = EnginePlan(deployment="d", backend="echo", model="m", options=options)
    engine = ChildEngine(EchoBackend().launch(plan), EngineLog(directory / "d.log"), os.environ)
    try:
        yield await engine.start(10)
    finally:
        await engine.stop(1)


@pytest.fixture(params=["aiohttp", "wire"])
def kind(request: pytest.FixtureRequest) -> ClientKind:
    return request.param


@pytest.fixture
async def client(kind: ClientKind) -> AsyncIterator[Client]:
    client = make_client(kind)
    yield client
    await client.close()


def upstream_of(ready: Ready, client: Client, secret: str | None = None) -> Upstream:
    return client.upstream("d", f"http://127.0.0.1:{ready.port}", secret or ready.secret, None)


async def ask(upstream: Upstream, *, stream: bool, patience_s: float = 20) -> bytes:
    messages = [{"role": "user", "content": "one two three four five six seven eight"}]
    body = json.dumps({"messages": messages, "stream": stream}).encode()
    async with upstream.send(PATH, body, first_byte_s=patience_s, stall_s=patience_s) as answer:
        return await answer.read()


async def counters(ready: Ready) -> dict[str, Any]:
    url = f"http://127.0.0.1:{ready.port}/v1/echo/counters"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {ready.secret}"}) as session,
        session.get(url) as response,
    ):
        return await response.json()


async def test_only_who_knows_the_secret_of_this_life_of_the_engine_is_answered(tmp_path: Path, client: Client) -> None:
    async with echo(tmp_path) as one, echo(tmp_path) as two:
        assert one.secret != two.secret
        assert b"one two" in await ask(upstream_of(one, client), stream=False)

        stranger = upstream_of(one, client, two.secret)
        with pytest.raises(UpstreamError) as caught:
            await ask(stranger, stream=False)

        assert caught.value.upstream_status == 401
        assert await stranger.probe() == "refuses its key (status 401)"
        assert (await counters(one))["requests"] == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("hang", UpstreamError, "sent nothing within 0.4 s"),
        ("error_500", UpstreamError, "as it was told to"),
        ("error_503", NotReadyError, "cannot answer yet"),
        ("error_429", CapacityError, "too much to do"),
        ("error_429_bare", CapacityError, "too much to do"),
        ("cut_before_first", UpstreamError, "broke off within its answer"),
        ("cut_after", UpstreamError, "broke off within its answer"),
        ("stall_after", UpstreamError, "fell silent for 0.4 s"),
    ],
)
async def test_every_fault_that_can_be_ordered_is_delivered(
    tmp_path: Path,
    client: Client,
    stream: bool,
    fault: str,
    error: type[ChangeoverError],
    says: str,
) -> None:
    async with echo(tmp_path, fault=fault, fault_rate=0.5) as ready:
        upstream = upstream_of(ready, client)
        assert await ask(upstream, stream=stream)

        with pytest.raises(error, match=says):
            await ask(upstream, stream=stream, patience_s=0.4 if "0.4 s" in says else 20)

        assert await ask(upstream, stream=stream)
        counted = await counters(ready)
        assert counted == {
            "requests": 3,
            "active": 0,
            "abandoned": int(fault in ("hang", "stall_after")),
            "sent_bytes": counted["sent_bytes"],
        }


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["trickle", "huge_chunk", "missing_usage", "leaked_reasoning"])
async def test_a_strange_answer_arrives_whole(tmp_path: Path, client: Client, stream: bool, fault: str) -> None:
    async with echo(tmp_path, fault=fault) as ready:
        said = await ask(upstream_of(ready, client), stream=stream)
        assert said.endswith(b"data: [DONE]\n\n" if stream else b"}")
        assert b"eight" in said
        assert (b'"usage"' in said) == (fault != "missing_usage" and not stream)
        assert (len(said) > 4 << 20) == (fault == "huge_chunk")
        async with asyncio.timeout(20):
            while (counted := await counters(ready))["active"]:
                await asyncio.sleep(0.01)
        assert counted["abandoned"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_connection_is_tried_again_only_if_it_was_a_kept_one(
    tmp_path: Path, client: Client, stream: bool
) -> None:
    async with echo(tmp_path, fault="refuse", fault_rate=0.5) as ready:
        upstream = upstream_of(ready, client)
        await ask(upstream, stream=stream)
        await ask(upstream, stream=stream)
        assert (await counters(ready))["requests"] == 3

    async with echo(tmp_path, fault="refuse") as ready:
        with pytest.raises(UpstreamError, match="connection"):
            await ask(upstream_of(ready, client), stream=stream)
        assert (await counters(ready))["requests"] == 1


async def test_as_many_chunks_as_ordered_arrive_before_the_cut(tmp_path: Path, client: Client) -> None:
    async with echo(tmp_path, fault="cut_after", fault_after=3, chunk_delay_s=0.01) as ready:
        body = b'{"messages":[{"role":"user","content":"a b c d e f"}],"stream":true}'
        pieces: list[bytes] = []
        async with upstream_of(ready, client).send(PATH, body, first_byte_s=5, stall_s=5) as answer:
            chunks = answer.chunks()
            with suppress(UpstreamError):
                while True:
                    pieces.append(await anext(chunks))

    assert b"".join(pieces).count(b'"content"') == 1 + 3


async def test_an_engine_stops_working_for_a_caller_who_left(tmp_path: Path, client: Client) -> None:
    async with echo(tmp_path, chunk_delay_s=30) as ready:
        upstream = upstream_of(ready, client)
        body = b'{"messages":[{"role":"user","content":"a b c"}],"stream":true}'
        async with upstream.send(PATH, body, first_byte_s=5, stall_s=5) as answer:
            async for _ in answer.chunks():
                break
            assert (await counters(ready))["active"] == 1

        async with asyncio.timeout(20):  # long before the next piece is due
            while (await counters(ready))["active"]:
                await asyncio.sleep(0.01)
        assert (await counters(ready))["abandoned"] == 1


async def test_delays_are_kept(tmp_path: Path, client: Client) -> None:
    async with echo(tmp_path, delay_s=0.1, chunk_delay_s=0.02, chunks=6) as ready:
        upstream = upstream_of(ready, client)
        began = time.monotonic()
        await ask(upstream, stream=True)
        streamed = time.monotonic()
        await ask(upstream, stream=False)

    assert streamed - began >= 0.1 + 3 * 0.02
    assert time.monotonic() - streamed >= 0.1


def configuration(parent: int) -> bytes:
    """The line that an engine waits for."""
    options = EnginePlan(deployment="d", backend="echo", model="m").parsed().model_dump()
    config = {"deployment": "d", "model": "m", "options": options, "behaviour": "none", "secret": "s", "parent": parent}
    return json.dumps(config).encode() + b"\n"


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child(*, parent: int) -> subprocess.Popen[bytes]:
    """An engine's process, started by hand."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "changeover.serving.engines.echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(configuration(parent))
    process.stdin.flush()
    return process


def test_the_end_of_its_standard_input_is_the_end_of_an_engine() -> None:
    with child(parent=os.getpid()) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["ready"] is True
        assert process.stdout.read() == b"", "one line and nothing else"

        process.stdin.close()

        assert process.wait(20) == 0


def test_an_engine_whose_parent_is_gone_already_does_not_start() -> None:
    with child(parent=os.getppid()) as process:
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0


MIDDLE = """
import os, subprocess, sys, time
with subprocess.Popen([sys.executable, "-P", "-m", "changeover.serving.engines.echo"], stdin=int(sys.argv[1])) as child:
    print(os.getpid(), child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_an_engine_dies_with_its_parent_even_while_somebody_else_holds_its_standard_input() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", MIDDLE, str(reading)], pass_fds=[reading], stdout=subprocess.PIPE
    ) as middle:
        assert middle.stdout is not None
        os.close(reading)
        parent, pid = (int(word) for word in middle.stdout.readline().split())
        os.write(writing, configuration(parent))
        assert json.loads(middle.stdout.readline())["ready"] is True
        engine = psutil.Process(pid)

        middle.kill()

        deadline = time.monotonic() + 20
        while not has_ended(engine):
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.01)
    os.close(writing)

"""A worker that lives and does nothing: found, killed, started again, while the others go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.support.projects import Running, open_written, running, write_project

from changeover.app import workers as workers_module

BOUND_S = 5.0
"""Instead of the real one, so that a test need not wait for it; ten times as long as a worker is silent."""
PATIENCE_S = 60.0


@asynccontextmanager
async def two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Running]:
    """The system in this process, which is so their parent."""
    monkeypatch.setattr(workers_module, "SILENT_S", BOUND_S)
    async with running(open_written(write_project(tmp_path / "p")), workers=2) as up:
        await up.ready("echo")
        yield up


async def ask(up: Running) -> int:
    """The status of an answer over a connection of its own."""
    async with aiohttp.ClientSession(up.address, headers=up.headers()) as http:
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        async with http.post("/v1/chat/completions", json=body) as response:
            await response.read()
            return response.status


async def answering(up: Running) -> int:
    """Number of the worker that answers a new connection."""
    async with (
        aiohttp.ClientSession(up.address, headers=up.headers(up.operator)) as http,
        http.get("/healthz") as response,
    ):
        return json.loads(await response.read())["worker"]


async def both_answer(up: Running) -> None:
    seen: set[int] = set()
    async with asyncio.timeout(PATIENCE_S):
        while seen != {1, 2}:
            seen.add(await answering(up))


def workers() -> dict[int, int]:
    """Process ids of this process's workers, by their numbers."""
    found: dict[int, int] = {}
    for child in psutil.Process().children():
        try:
            line = child.cmdline()
        except psutil.Error:
            continue
        if "changeover.app.worker" in line:
            found[int(line[-1])] = child.pid
    return found


async def test_a_worker_that_hangs_is_killed_and_started_again_and_the_other_answers_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_workers(tmp_path, monkeypatch) as up:
        await both_answer(up)
        before = workers()
        os.kill(before[1], signal.SIGSTOP)
        stopped = time.monotonic()
        statuses: list[int] = []
        async with asyncio.timeout(PATIENCE_S):
            while workers().get(1, before[1]) == before[1]:
                statuses.append(await ask(up))
        assert time.monotonic() - stopped > BOUND_S - 1, "half a second of it may have been before"
        await both_answer(up)
        assert workers()[2] == before[2]
    assert len(statuses) > 10
    assert set(statuses) == {200}
    said = [message for message in caplog.messages if "gateway worker" in message]
    assert said == [
        "gateway worker 1 hangs: no sign of life for too long; it is killed",
        "gateway worker 1 was killed by SIGKILL; it is started again",
    ]


async def test_workers_live_on_that_have_nothing_to_do_or_whose_parent_slept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_workers(tmp_path, monkeypatch) as up:
        before = workers()
        await asyncio.sleep(BOUND_S + 1)
        time.sleep(BOUND_S + 1)  # noqa: ASYNC251 - that is what sleeps here: the parent, as after SIGSTOP
        await asyncio.sleep(1)
        await both_answer(up)
        assert workers() == before
    assert not [message for message in caplog.messages if "hangs" in message]

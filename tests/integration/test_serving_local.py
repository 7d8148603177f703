"""The embedded engine with a real small model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError, RequestError, UpstreamError
from changeover.serving.backends import Launch, LocalBackend
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import DeploymentStatus, Supervisor, Timing
from changeover.serving.upstream import Upstream, make_client

PATH = "/v1/chat/completions"


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(SystemClock(), tmp_path, timing=Timing(stop_grace_s=1.0))
    yield supervisor
    await supervisor.close()


@pytest.fixture
def smollm2() -> Path:
    cache = Path(os.environ.get("CHANGEOVER_CACHE", "~/.cache/changeover")).expanduser()
    path = cache / "models" / "b179c9523d0e6a0f" / "model.gguf"
    if not path.is_file():
        pytest.skip("SmolLM2-135M-Instruct is not in the cache; `make demo` fetches it")
    return path


def local(path: Path) -> EnginePlan:
    return EnginePlan(
        deployment="small", backend="local", model="card", artifact=path, options={"context_tokens": 512, "slots": 2}
    )


def question(text: str, **fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}).encode()


async def ask(upstream: Upstream, body: bytes) -> bytes:
    async with upstream.send(PATH, body, first_byte_s=60, stall_s=60) as answer:
        return await answer.read()


@pytest.mark.models
async def test_a_real_model_answers_streams_refuses_and_comes_back(supervisor: Supervisor, smollm2: Path) -> None:
    await supervisor.ensure(local(smollm2))
    await supervisor.wait_ready("small", 60)
    upstream = supervisor.upstream("small")
    assert upstream is not None

    task = question("Write a Python function `add(a, b)`.", max_tokens=24)
    answer = json.loads(await ask(upstream, task))
    assert "def add(a, b):" in answer["choices"][0]["message"]["content"]
    assert answer["model"] == "small"

    # llama.cpp closes the connection after a stream and does not say so.
    for _ in range(8):
        streamed = await ask(upstream, question("Hi", max_tokens=1, stream=True))
        assert streamed.endswith(b"data: [DONE]\n\n")

    with pytest.raises(RequestError, match=r"has `[0-9]+` tokens and `small` takes `512`"):
        await ask(upstream, question("word " * 2000))

    client = make_client("wire")
    assert (
        await client.upstream("small", upstream.base_url, "engine-guess", None).probe()
        == "refuses its key (status 401)"
    )
    await client.close()

    pid = supervisor.status("small").pid
    assert pid is not None
    if os.getuid() == 0:
        assert set(psutil.Process(pid).uids()) == {65534}
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    await supervisor.wait_ready("small", 60)
    again = supervisor.upstream("small")
    assert again is not None
    assert json.loads(await ask(again, task))["choices"] == answer["choices"]


async def test_weights_that_cannot_be_loaded_are_refused_with_the_reason(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    await supervisor.ensure(local(path))

    with pytest.raises(EngineError, match=r"`small` is failed: .*model\.gguf"):
        await supervisor.wait_ready("small", 10)
    assert supervisor.status("small").restarts == 0


FAILING = """
import ctypes, signal
from xllamacpp import xllamacpp
from changeover.serving.engines import local

def fail(*_):
    ctypes.CDLL(xllamacpp.__file__).ggml_abort(b"ops.cpp", 7, b"GGML_ASSERT(%s) failed", b"rows > 0")

signal.signal(signal.SIGUSR1, fail)
local.main()
"""
"""The embedded engine, in which an assertion of ggml's own fails when it is told so."""


class Failing(LocalBackend):
    def launch(self, plan: EnginePlan) -> Launch:
        return replace(super().launch(plan), argv=(sys.executable, "-c", FAILING))


@pytest.mark.models
async def test_an_assertion_that_fails_ends_one_engine_alone_and_that_comes_back_and_says_why(
    smollm2: Path, tmp_path: Path
) -> None:
    seen: list[DeploymentStatus] = []
    supervisor = Supervisor(SystemClock(), tmp_path, seen.append, backends={"local": Failing()})
    try:
        for name in ("small", "other"):
            await supervisor.ensure(replace(local(smollm2), deployment=name))
        for name in ("small", "other"):
            await supervisor.wait_ready(name, 60)
        upstream, other = supervisor.upstream("small"), supervisor.status("other").pid
        assert upstream is not None
        answering = asyncio.create_task(ask(upstream, question("Count to a hundred.", max_tokens=400)))
        await asyncio.sleep(0)  # it is sent, or about to be
        os.kill(supervisor.status("small").pid or 0, signal.SIGUSR1)
        with pytest.raises(UpstreamError):
            await answering
        while not supervisor.status("small").restarts:
            await asyncio.sleep(0.01)
        await supervisor.wait_ready("small", 60)
        again = supervisor.upstream("small")
        assert again is not None
        assert json.loads(await ask(again, question("Hi", max_tokens=1)))["choices"]

        [fallen] = [each for each in seen if each.state == "restarting"]
        assert fallen.name == "small"
        assert fallen.detail == "was killed by SIGABRT; its log says: ops.cpp:7: GGML_ASSERT(rows > 0) failed"
        assert (supervisor.status("other").pid, supervisor.status("other").restarts) == (other, 0)
        # A debugger would have been started, and what it says would stand here.
        assert (tmp_path / "small.log").read_text().splitlines()[-1] == "ops.cpp:7: GGML_ASSERT(rows > 0) failed"
    finally:
        await supervisor.close()


@pytest.mark.models
async def test_its_threads_do_not_spin_and_who_leaves_in_the_middle_of_a_prompt_frees_it(
    supervisor: Supervisor, smollm2: Path
) -> None:
    """In processor time: that of a prompt that nobody waits for any more, beside that of a whole one.

    The prompt is a dozen batches long: it ends with the batch under way when the engine hears of it, which a busy
    machine puts off by seconds.
    """
    plan = replace(local(smollm2), options={"context_tokens": 2048, "slots": 1, "threads": 1})
    await supervisor.ensure(plan)
    await supervisor.wait_ready("small", 60)
    upstream, pid = supervisor.upstream("small"), supervisor.status("small").pid
    assert upstream is not None
    engine = psutil.Process(pid)
    environment = engine.environ()
    assert (environment["GOMP_SPINCOUNT"], environment["GGML_NO_BACKTRACE"]) == ("1000", "1")

    def spent_s() -> float:
        return engine.cpu_times().user + engine.cpu_times().system

    before = spent_s()
    await ask(upstream, question("one " * 1500, max_tokens=1))
    whole = spent_s() - before
    before = spent_s()
    leaving = asyncio.create_task(ask(upstream, question("two " * 1500, max_tokens=1)))
    while spent_s() - before < whole / 20:
        await asyncio.sleep(0.005)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await ask(upstream, question("Hi", max_tokens=1))
    assert spent_s() - before < 0.6 * whole

    with pytest.raises(UpstreamError, match=r"status 501: This server does not support embeddings"):
        await upstream.fetch("/v1/embeddings", b'{"input": "word"}', first_byte_s=60, stall_s=60)


@pytest.mark.models
async def test_its_vectors_come_from_an_engine_of_their_own_and_of_texts_longer_than_a_batch(
    supervisor: Supervisor, smollm2: Path
) -> None:
    options = {"context_tokens": 1024, "slots": 1, "threads": 1, "embeddings": True}
    await supervisor.ensure(replace(local(smollm2), options=options))
    await supervisor.wait_ready("small", 60)
    upstream = supervisor.upstream("small")
    assert upstream is not None
    wants = json.dumps({"input": "word " * 520}).encode()
    answer = json.loads(await upstream.fetch("/v1/embeddings", wants, first_byte_s=60, stall_s=60))
    assert len(answer["data"][0]["embedding"]) == 576
    assert answer["usage"]["prompt_tokens"] > 512

"""The embedded engine with a real small model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError, RequestError
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor, Timing
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

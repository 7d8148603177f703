"""llama.cpp's server as a program of its own, under a warden, with a real small model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError, RequestError
from changeover.core.settings import EngineHome
from changeover.serving.backends import LlamaServerBackend, backends_in
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.supervisor import Supervisor, Timing
from changeover.serving.upstream import Upstream, make_client

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.support.llama_server "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
async def supervisor(tmp_path: Path, program: Path) -> AsyncIterator[Supervisor]:
    homes = Homes(declared={"llama-server": EngineHome(command=str(program))})
    supervisor = Supervisor(SystemClock(), tmp_path, backends=backends_in(homes), timing=Timing(stop_grace_s=2.0))
    yield supervisor
    await supervisor.close()


@pytest.fixture
def smollm2() -> Path:
    cache = Path(os.environ.get("CHANGEOVER_CACHE", "~/.cache/changeover")).expanduser()
    path = cache / "models" / "b179c9523d0e6a0f" / "model.gguf"
    if not path.is_file():
        pytest.skip("SmolLM2-135M-Instruct is not in the cache; `make demo` fetches it")
    return path


def plan(weights: Path, **options: Json) -> EnginePlan:
    return EnginePlan(
        deployment="small",
        backend="llama-server",
        model="card",
        artifact=weights,
        options={"context_tokens": 512, "slots": 2, "threads": 1, **options},
    )


async def ask(upstream: Upstream, text: str, path: str = CHAT, **fields: object) -> bytes:
    asked = {"input": text} if path.endswith("embeddings") else {"messages": [{"role": "user", "content": text}]}
    body = json.dumps({**asked, **fields}).encode()
    async with upstream.send(path, body, first_byte_s=60, stall_s=60) as answer:
        return await answer.read()


@pytest.mark.models
async def test_the_program_answers_streams_refuses_and_leaves_nothing(supervisor: Supervisor, smollm2: Path) -> None:
    await supervisor.ensure(plan(smollm2))
    await supervisor.wait_ready("small", 60)
    upstream = supervisor.upstream("small")
    assert upstream is not None

    answer = json.loads(await ask(upstream, "Write a Python function `add(a, b)`.", max_tokens=24, temperature=0))
    assert "def add(a, b):" in answer["choices"][0]["message"]["content"]
    assert answer["model"] == "small"
    streamed = await ask(upstream, "Hi", max_tokens=1, stream=True)
    assert streamed.endswith(b"data: [DONE]\n\n")
    assert b": ping" not in streamed

    with pytest.raises(RequestError, match=r"has `[0-9]+` tokens and `small` takes `512`"):
        await ask(upstream, "word " * 2000)
    client = make_client("wire")
    stranger = client.upstream("small", upstream.base_url, "engine-guess", None)
    assert await stranger.probe() == "refuses its key (status 401)"
    await client.close()

    pid = supervisor.status("small").pid
    assert pid is not None
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert not any("engine-" in " ".join(each.cmdline()) for each in processes), "its key stands on a command line"
    await supervisor.stop("small")
    await asyncio.to_thread(psutil.wait_procs, processes, 20)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


@pytest.mark.models
async def test_a_text_longer_than_a_usual_batch_is_embedded(supervisor: Supervisor, smollm2: Path) -> None:
    await supervisor.ensure(plan(smollm2, embeddings=True, context_tokens=1024))
    await supervisor.wait_ready("small", 60)
    upstream = supervisor.upstream("small")
    assert upstream is not None

    answer = json.loads(await ask(upstream, "word " * 520, "/v1/embeddings"))
    assert answer["usage"]["prompt_tokens"] > 512
    assert len(answer["data"][0]["embedding"]) == 576


@pytest.mark.models
async def test_what_the_program_says_when_it_cannot_start_is_said(program: Path, smollm2: Path, tmp_path: Path) -> None:
    backend = LlamaServerBackend(Homes(declared={"llama-server": EngineHome(command=str(program))}))
    launch = backend.launch(plan(smollm2, flags=["--no-such-flag"]))
    engine = ChildEngine(launch, EngineLog(tmp_path / "d.log"), os.environ)
    with pytest.raises(EngineError, match="unrecognized arguments: --no-such-flag"):
        await engine.start(60)
    await engine.stop(5)

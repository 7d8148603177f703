"""Ollama under a warden, against a server that answers as its documentation says: see `tests.support.fake_ollama`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.library.gguf_builder import build

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError
from changeover.core.settings import EngineHome
from changeover.serving.backends import Launch, OllamaBackend, backends_in
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.supervisor import Supervisor, Timing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    program = tmp_path / "ollama"
    program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.support.fake_ollama "$@"\n')
    program.chmod(0o755)
    return Homes(declared={"ollama": EngineHome(command=str(program))}, managed=tmp_path / "cache" / "engines")


@pytest.fixture
async def supervisor(tmp_path: Path, homes: Homes) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(SystemClock(), tmp_path, backends=backends_in(homes), timing=Timing(stop_grace_s=2.0))
    yield supervisor
    await supervisor.close()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


def plan(weights: Path | None, deployment: str = "small", **options: Json) -> EnginePlan:
    return EnginePlan(deployment=deployment, backend="ollama", model="card", artifact=weights, options=options)


async def ask(supervisor: Supervisor, name: str = "small") -> dict[str, Any]:
    upstream = supervisor.upstream(name)
    assert upstream is not None
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    async with upstream.send("/v1/chat/completions", body, first_byte_s=20, stall_s=20) as answer:
        return json.loads(await answer.read())


async def test_it_is_ready_when_the_model_is_made_of_our_file(
    supervisor: Supervisor, weights: Path, tmp_path: Path
) -> None:
    await supervisor.ensure(plan(weights, context_tokens=1024, slots=2))
    await supervisor.wait_ready("small", 30)
    answer = await ask(supervisor)

    told = json.loads(answer["choices"][0]["message"]["content"])
    assert told["OLLAMA_CONTEXT_LENGTH"] == "1024"
    assert told["OLLAMA_NUM_PARALLEL"] == "2"
    assert told["OLLAMA_HOST"].startswith("127.0.0.1:")
    blobs = tmp_path / "cache" / "engine-data" / "ollama" / "models" / "blobs"
    assert [each.read_bytes() for each in blobs.iterdir()] == [weights.read_bytes()]

    await supervisor.stop("small")
    blob = next(blobs.iterdir())
    before = blob.stat().st_mtime_ns
    await supervisor.ensure(plan(weights))
    await supervisor.wait_ready("small", 30)
    assert blob.stat().st_mtime_ns == before, "the file was sent a second time"


async def test_a_model_of_its_library_is_pulled(supervisor: Supervisor) -> None:
    await supervisor.ensure(plan(None, "qwen", name="qwen3:0.6b"))
    await supervisor.wait_ready("qwen", 30)

    assert (await ask(supervisor, "qwen"))["model"] == "qwen3:0.6b"


async def test_a_model_that_is_nowhere_is_said_in_its_own_words(homes: Homes, tmp_path: Path) -> None:
    launch = OllamaBackend(homes).launch(plan(None, name="no-such-model"))
    assert isinstance(launch, Launch)
    engine = ChildEngine(launch, EngineLog(tmp_path / "d.log"), os.environ)
    with pytest.raises(EngineError, match=r"`/api/pull` was refused with status 500: .*file does not exist"):
        await engine.start(60)
    await engine.stop(5)


async def test_one_that_runs_already_is_asked_under_its_own_name(supervisor: Supervisor, weights: Path) -> None:
    await supervisor.ensure(plan(weights))
    await supervisor.wait_ready("small", 30)
    first = supervisor.upstream("small")
    assert first is not None

    there = plan(None, "there", base_url=f"{first.base_url}/v1", name=(await ask(supervisor))["model"])
    await supervisor.ensure(there)
    await supervisor.wait_ready("there", 30)
    assert (await ask(supervisor, "there"))["choices"][0]["finish_reason"] == "stop"

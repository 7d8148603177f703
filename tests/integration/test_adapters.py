"""LoRA adapters on a real engine: one copy of the weights, nothing mixed, nothing lost while they come and go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.asking import ask
from tests.support.loras import gguf_lora
from tests.support.processes import line_of

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError, RequestError
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor, Timing

PROMPT = "Write one sentence about the city of Paris and its river, its museums and its long history. Be precise."
TOKENS = 10

pytestmark = pytest.mark.models


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(SystemClock(), tmp_path / "logs", timing=Timing(stop_grace_s=1.0))
    yield supervisor
    await supervisor.close()


@pytest.fixture(scope="module")
def smollm2() -> Path:
    cache = Path(os.environ.get("CHANGEOVER_CACHE", "~/.cache/changeover")).expanduser()
    path = cache / "models" / "b179c9523d0e6a0f" / "model.gguf"
    if not path.is_file():
        pytest.skip("SmolLM2-135M-Instruct is not in the cache; `make demo` fetches it")
    return path


@pytest.fixture(scope="module")
def lora(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = gguf_lora(tmp_path_factory.mktemp("lora") / "adapter.gguf", smollm2)
    for each in (file, file.parent, file.parent.parent, file.parent.parent.parent):
        each.chmod(0o755)  # the engine gives up its rights before it reads
    return file


def base(weights: Path) -> EnginePlan:
    options = {"context_tokens": 512, "slots": 1, "threads": 1}
    return EnginePlan(deployment="base", backend="local", model="card", artifact=weights, options=options)


def adapter(file: Path, name: str = "tuned", scale: float = 1.0) -> EnginePlan:
    options = {"base": "base", "scale": scale}
    return EnginePlan(deployment=name, backend="adapter", model="tune", artifact=file, options=options)


async def said(supervisor: Supervisor, name: str) -> str:
    upstream = supervisor.upstream(name)
    assert upstream is not None
    return await ask(upstream, PROMPT, max_tokens=TOKENS)


def resident(supervisor: Supervisor) -> int:
    pid = supervisor.status("base").pid
    assert pid is not None
    return psutil.Process(pid).memory_info().rss


async def test_an_adapter_joins_a_running_base_and_neither_is_mixed_with_the_other(
    supervisor: Supervisor, smollm2: Path, lora: Path
) -> None:
    await supervisor.ensure(base(smollm2))
    await supervisor.wait_ready("base", 60)
    before = await said(supervisor, "base")
    first, alone = supervisor.status("base"), resident(supervisor)

    await supervisor.ensure(adapter(lora))
    await supervisor.ensure(adapter(lora, "half", scale=0.5))
    await supervisor.wait_ready("tuned", 60)
    await supervisor.wait_ready("half", 60)
    tuned, half = await said(supervisor, "tuned"), await said(supervisor, "half")
    assert len({before, tuned, half}) == 3
    # One slot: each finds the keys and values of the other's words there.
    for _ in range(2):
        assert await said(supervisor, "base") == before
        assert await said(supervisor, "tuned") == tuned
        assert await said(supervisor, "half") == half

    assert resident(supervisor) - alone < 0.25 * smollm2.stat().st_size + lora.stat().st_size  # no second copy
    second = supervisor.status("base")
    assert (second.state, second.restarts) == ("ready", 0)
    assert second.pid != first.pid
    status = supervisor.status("tuned")
    assert (status.state, status.detail, status.pid, status.memory_bytes) == ("ready", "on `base`", None, None)
    assert [each.pid for each in psutil.Process().children() if "changeover.serving" in line_of(each)] == [second.pid]

    upstream = supervisor.upstream("base")
    assert upstream is not None
    with pytest.raises(RequestError, match="cannot tell them apart under /v1/messages"):
        await ask(upstream, PROMPT, path="/v1/messages")

    assert second.pid is not None
    psutil.Process(second.pid).kill()
    while not supervisor.status("base").restarts:
        await asyncio.sleep(0.01)
    await supervisor.wait_ready("tuned", 60)
    assert (await said(supervisor, "tuned"), await said(supervisor, "base")) == (tuned, before)


async def test_no_request_fails_while_adapters_come_and_go(supervisor: Supervisor, smollm2: Path, lora: Path) -> None:
    await supervisor.ensure(replace(base(smollm2), options={"context_tokens": 512, "slots": 4, "threads": 1}))
    await supervisor.wait_ready("base", 60)
    stop = asyncio.Event()
    answers: dict[str, set[str]] = {"base": set(), "tuned": set()}

    async def caller() -> None:
        while not stop.is_set():
            for name in [name for name in answers if supervisor.upstream(name) is not None]:
                upstream = supervisor.upstream(name)
                assert upstream is not None
                answers[name].add(await ask(upstream, PROMPT, max_tokens=4))

    callers = [asyncio.create_task(caller()) for _ in range(3)]
    await supervisor.ensure(adapter(lora))
    await supervisor.wait_ready("tuned", 60)
    await asyncio.sleep(0)
    await supervisor.stop("tuned")
    await supervisor.ensure(adapter(lora))
    await supervisor.ensure(adapter(lora, "other", scale=2.0))
    await supervisor.wait_ready("other", 60)
    while not answers["tuned"]:
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*callers)
    assert len(answers["base"]) == len(answers["tuned"]) == 1


async def test_what_cannot_be_held_is_refused_and_the_base_goes_on(
    supervisor: Supervisor, smollm2: Path, lora: Path, tmp_path: Path
) -> None:
    await supervisor.ensure(base(smollm2))
    await supervisor.wait_ready("base", 60)
    before = supervisor.status("base").pid
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(lora.read_bytes().replace(b"blk.29.attn_q", b"blk.31.attn_q"))
    wrong.chmod(0o644)
    await supervisor.ensure(adapter(wrong, "wrong"))
    await supervisor.ensure(adapter(lora))
    await supervisor.wait_ready("tuned", 60)
    with pytest.raises(EngineError, match="`wrong` is failed: `base` cannot hold it: "):
        await supervisor.wait_ready("wrong", 60)
    assert supervisor.status("base").pid != before
    assert (supervisor.status("base").state, supervisor.status("base").restarts) == ("ready", 0)


async def test_an_adapter_waits_for_its_base_and_comes_up_with_it(
    supervisor: Supervisor, smollm2: Path, lora: Path
) -> None:
    await supervisor.ensure(adapter(lora))
    with pytest.raises(EngineError, match="`tuned` is restarting: waits for `base`, which does not run"):
        await supervisor.wait_ready("tuned", 0.05)
    await supervisor.ensure(base(smollm2))
    await supervisor.wait_ready("tuned", 60)
    assert supervisor.riders("base") == ["tuned"]
    pid = supervisor.status("base").pid
    await said(supervisor, "tuned")
    assert supervisor.status("base").pid == pid  # it came up with it, and was not exchanged for one that has it

    await supervisor.stop("base", drain_s=10)
    assert supervisor.upstream("tuned") is None
    assert supervisor.status("tuned").detail == "waits for `base`, which is stopped"

"""vLLM itself on this machine's processor, started as a deployment is: what it answers, what it refuses, what it leaves.

SmolLM2 in safetensors. An engine takes half a minute to start on two quiet cores.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
import pytest
import pytest_asyncio
from tests.engines.places import SMALL

from changeover.core.clock import SystemClock
from changeover.serving.backends import VllmBackend
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.overflows import overflow
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor

START_S = 400

pytestmark = [pytest.mark.engine("vllm"), pytest.mark.asyncio(loop_scope="module")]

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Running(NamedTuple):
    """An engine that answers, and how it is asked."""

    address: str
    secret: str
    processes: list[psutil.Process]

    async def post(self, path: str, body: Mapping[str, Any], *, secret: str | None = None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self.secret if secret is None else secret}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(300)) as client,
            client.post(self.address + path, json={"model": "smollm2", **body}) as answer,
        ):
            return answer.status, await answer.read()

    async def chat(self, text: str, **more: Any) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 40, **more}
        status, answer = await self.post("/v1/chat/completions", body)
        assert status == 200, answer
        return json.loads(answer)


class Vllm(NamedTuple):
    """What a deployment of vLLM is made of."""

    backend: VllmBackend
    weights: Path

    def plan(self, **options: Json) -> EnginePlan:
        return EnginePlan(
            deployment="d",
            backend="vllm",
            model="smollm2",
            artifact=self.weights,
            options={"context_tokens": 2048, "tool_parser": "hermes", **options},
        )

    def supervisor(self, directory: Path) -> Supervisor:
        return Supervisor(SystemClock(), directory, backends={"vllm": self.backend})


@pytest.fixture(scope="module")
def vllm(home: Callable[[str], Path], homes: Homes, safetensors: Callable[[str], Path]) -> Vllm:
    home("vllm")
    return Vllm(VllmBackend(homes), safetensors(SMALL))


async def started(engines: Supervisor) -> Running:
    await engines.wait_ready("d", START_S)
    status = engines.status("d")
    assert status.address is not None
    warden = psutil.Process(status.pid)
    # Whatever ends below a warden is handed to it, and is its child too until it has been waited for.
    inside = [each for each in warden.children(recursive=True) if lives(each)]
    server = next(each for each in inside if "api_server" in " ".join(each.cmdline()))
    others = [each for each in inside if each != server]
    return Running(status.address, server.environ()["VLLM_API_KEY"], [warden, server, *others])


async def gone(processes: list[psutil.Process], within_s: float = 30) -> list[psutil.Process]:
    """Those that still live after a while."""
    deadline = time.monotonic() + within_s
    while (left := [each for each in processes if lives(each)]) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return left


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(vllm: Vllm, logs: Path) -> AsyncGenerator[Running]:
    engines = vllm.supervisor(logs)
    try:
        assert list(vllm.backend.missing(vllm.plan())) == []
        await engines.ensure(vllm.plan())
        yield await started(engines)
    finally:
        await engines.close()


async def test_it_answers_a_chat_and_counts_its_tokens(engine: Running) -> None:
    answer = await engine.chat("What is the capital of France?")
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["model"] == "smollm2"
    assert answer["usage"]["prompt_tokens"] > 0


async def test_it_streams_and_counts_at_the_end(engine: Running) -> None:
    status, body = await engine.post(
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    )
    events = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    chunks = [json.loads(each) for each in events[:-1]]
    text = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks if each["choices"])
    assert (status, events[-1].strip()) == (200, b"[DONE]")
    assert "Paris" in text
    assert len(chunks) > 4
    assert chunks[-1]["usage"]["completion_tokens"] > 4


async def test_a_schema_is_kept_without_free_white_space(engine: Running) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}
    answer = await engine.chat("Name a person.", response_format=shape)
    content = answer["choices"][0]["message"]["content"]
    found = json.loads(content)
    assert found.keys() == {"name", "age"}
    assert content == json.dumps(found, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
async def test_a_call_that_must_be_made_is_made_with_arguments_of_its_schema(engine: Running, choice: Any) -> None:
    answer = await engine.chat("Tell me a joke.", tools=[WEATHER], tool_choice=choice, max_tokens=150)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]).keys() == {"city"}


async def test_it_gives_log_probabilities_of_answers_and_prompts_and_soon(engine: Running) -> None:
    began = time.monotonic()
    answer = await engine.chat("Say yes.", logprobs=True, top_logprobs=2, max_tokens=2)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens[0]["top_logprobs"]) == 2
    assert all(each["logprob"] <= 0 for each in tokens)
    _, body = await engine.post(
        "/v1/completions", {"prompt": "Paris is in France", "echo": True, "logprobs": 1, "max_tokens": 1}
    )
    assert len(json.loads(body)["choices"][0]["logprobs"]["token_logprobs"]) > 3
    assert time.monotonic() - began < 25, "nothing is compiled for it: that took 32 s"


async def test_a_prompt_that_is_too_long_is_told_from_other_mistakes(engine: Running) -> None:
    for more in ({}, {"stream": True}):
        status, said = await engine.post(
            "/v1/chat/completions", {"messages": [{"role": "user", "content": "a word " * 3000}], **more}
        )
        found = overflow("d", said)
        assert status == 400
        assert found is not None
        assert "2048" in found.message
    status, said = await engine.post("/v1/chat/completions", {"messages": []})
    assert (status, overflow("d", said)) == (400, None)


async def test_who_does_not_know_the_secret_gets_nothing_but_its_health(engine: Running) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "max_tokens": 1}
    for path in ("/v1/chat/completions", "/invocations", "/tokenize"):
        assert (await engine.post(path, asked, secret="wrong"))[0] == 401, path
    async with aiohttp.ClientSession() as client:
        for path, status in (("/metrics", 401), ("/v1/models", 401), ("/openapi.json", 401), ("/health", 200)):
            async with client.get(engine.address + path) as answer:
                assert answer.status == status, path
    assert (await engine.post("/invocations", asked))[0] == 200, "it would answer there whoever asks"
    assert all(engine.secret not in " ".join(each.cmdline()) for each in engine.processes)


async def test_it_listens_on_loopback_alone(engine: Running) -> None:
    listening = {
        each.laddr.ip
        for process in engine.processes
        for each in process.net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1"}


async def test_its_vectors_come_from_an_engine_that_serves_nothing_else(vllm: Vllm, tmp_path: Path) -> None:
    engines = vllm.supervisor(tmp_path)
    try:
        await engines.ensure(vllm.plan(embeddings=True))
        vectors = await started(engines)
        status, body = await vectors.post("/v1/embeddings", {"input": ["one text", "another"]})
        assert status == 200, body
        found = [each["embedding"] for each in json.loads(body)["data"]]
        assert len(found) == 2
        assert len(found[0]) == 576
        assert found[0] != found[1]
        assert (await vectors.post("/v1/chat/completions", {"messages": []}))[0] == 404
    finally:
        await engines.close()


async def test_when_its_server_is_killed_nothing_of_it_is_left_and_it_starts_anew(vllm: Vllm, tmp_path: Path) -> None:
    engines = vllm.supervisor(tmp_path)
    try:
        await engines.ensure(vllm.plan())
        first = await started(engines)
        names = {each.name() for each in first.processes}
        assert any("EngineCore" in each for each in names), names
        first.processes[1].send_signal(signal.SIGKILL)
        assert await gone(first.processes) == []
        again = await started(engines)
        assert "Paris" in (await again.chat("What is the capital of France?"))["choices"][0]["message"]["content"]
    finally:
        await engines.close()
    assert await gone(again.processes) == []


async def test_when_it_is_stopped_while_it_starts_nothing_is_left(vllm: Vllm, tmp_path: Path) -> None:
    engines = vllm.supervisor(tmp_path)
    await engines.ensure(vllm.plan())
    processes = await until_its_core_starts(lambda: engines.status("d").pid)
    await engines.close()
    assert await gone(processes) == []


async def test_when_we_are_killed_while_it_starts_nothing_is_left(vllm: Vllm) -> None:
    launch = vllm.backend.launch(vllm.plan())
    program = (
        "import json, os, subprocess, sys\n"
        "told = json.loads(sys.argv[1])\n"
        "warden = subprocess.Popen(told['argv'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "warden.stdin.write(json.dumps({**told['config'], 'secret': 's', 'parent': os.getpid()}).encode() + b'\\n')\n"
        "warden.stdin.flush()\n"
        "print(warden.pid, flush=True)\n"
        "warden.wait()\n"
    )
    told = json.dumps({"argv": launch.argv, "config": launch.config})
    with subprocess.Popen(
        [sys.executable, "-c", program, told], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        processes = await until_its_core_starts(lambda: pid)
        parent.kill()
        left = await gone(processes)
        for each in left:
            each.kill()
        assert left == []


async def until_its_core_starts(pid: Any) -> list[psutil.Process]:
    """The warden and all of its processes, once the server has started one of its own."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if (found := pid()) is not None:
            warden = psutil.Process(found)
            inside = warden.children(recursive=True)
            if any("EngineCore" in each.name() for each in inside):
                return [warden, *inside]
        await asyncio.sleep(0.1)
    raise AssertionError("its core did not start")

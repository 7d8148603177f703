"""Ray Serve itself on this machine: two replicas of the embedded engine, and what becomes of them.

SmolLM2. A cluster takes about 15 s to start on two quiet cores, and 1.5 GB of memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import pytest_asyncio
from tests.engines.places import SMALL

from changeover.core.clock import SystemClock
from changeover.core.errors import EngineError, RequestError
from changeover.serving.backends import Launch, RayBackend, backends_in
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog
from changeover.serving.supervisor import Supervisor, Timing
from changeover.serving.upstream import Upstream, make_client

CHAT = "/v1/chat/completions"
START_S = 200
PATIENCE_S = 90

pytestmark = [pytest.mark.engine("ray"), pytest.mark.asyncio(loop_scope="module")]


class Rays(NamedTuple):
    """What a deployment on Ray is made of."""

    homes: Homes
    python: Path
    weights: Path

    def plan(self, name: str, weights: Path | None = None, **options: Json) -> EnginePlan:
        inner: Json = {"context_tokens": 512, "slots": 2}
        return EnginePlan(
            deployment=name,
            backend="ray",
            model="card",
            artifact=weights or self.weights,
            options={"options": inner, **options},
        )

    def launch(self, plan: EnginePlan) -> Launch:
        launch = RayBackend(self.homes, backends_in(self.homes)).launch(plan)
        assert isinstance(launch, Launch)
        return launch

    def supervisor(self, directory: Path) -> Supervisor:
        timing = Timing(stop_grace_s=5.0)
        return Supervisor(SystemClock(), directory, backends=backends_in(self.homes), timing=timing)

    @asynccontextmanager
    async def deployed(self, directory: Path, of: EnginePlan) -> AsyncGenerator[Running]:
        supervisor = self.supervisor(directory)
        try:
            await supervisor.ensure(of)
            await supervisor.wait_ready(of.deployment, START_S)
            upstream, pid = supervisor.upstream(of.deployment), supervisor.status(of.deployment).pid
            assert upstream is not None
            assert pid is not None
            yield Running(supervisor, upstream, psutil.Process(pid))
        finally:
            await supervisor.close()

    def run(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Somebody else's program, with Ray's interpreter and these variables."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "RAY_USAGE_STATS_ENABLED": "0", **variables}
        return subprocess.run(
            [self.python, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


class Running(NamedTuple):
    supervisor: Supervisor
    upstream: Upstream
    warden: psutil.Process

    def processes(self) -> list[psutil.Process]:
        return [self.warden, *self.warden.children(recursive=True)]

    def cluster(self) -> tuple[str, str]:
        """Its address, and the file with its token."""
        raylet = next(words(each) for each in self.processes() if "--gcs-address=" in words(each))
        address = re.search(r"--gcs-address=(\S+)", raylet)
        assert address is not None
        return address[1], self.door().environ()["RAY_AUTH_TOKEN_PATH"]

    def door(self) -> psutil.Process:
        return next(each for each in self.processes() if "ray_app.py" in words(each))

    def engines(self) -> list[psutil.Process]:
        """The engines that replicas keep, oldest first."""
        found = [
            each for each in self.warden.children(recursive=True) if "changeover.serving.engines.local" in words(each)
        ]
        return sorted(found, key=psutil.Process.create_time)


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def rays(home: Callable[[str], Path], homes: Homes, weights: Callable[[str, str], Path]) -> Rays:
    return Rays(homes, home("ray"), weights(SMALL, "local"))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(rays: Rays, logs: Path) -> AsyncGenerator[Running]:
    async with rays.deployed(logs, rays.plan("two", replicas=2, cores=0.5)) as running:
        yield running


async def ask(upstream: Upstream, text: str, **fields: object) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": text}], "temperature": 0, **fields}).encode()
    async with upstream.send(CHAT, body, first_byte_s=PATIENCE_S, stall_s=PATIENCE_S) as answer:
        return await answer.read()


async def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    def lives(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [each for each in processes if lives(each)]


def seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def test_both_replicas_answer(two: Running) -> None:
    engines = two.engines()
    assert len(engines) == 2
    assert len({each.ppid() for each in engines}) == 2
    assert "2 replicas of `local`" in two.supervisor.status("two").detail
    before = {each.pid: seconds(each) for each in engines}

    answers = await asyncio.gather(*(ask(two.upstream, f"Name {number} fruits.", max_tokens=16) for number in range(8)))

    assert all(json.loads(each)["usage"]["completion_tokens"] > 0 for each in answers)
    assert all(seconds(each) > before[each.pid] for each in engines), "one of them had nothing to do"


async def test_an_answer_comes_as_the_engine_gave_it(two: Running) -> None:
    whole = json.loads(await ask(two.upstream, "Write a Python function `add(a, b)`.", max_tokens=24))
    assert "def add(a, b):" in whole["choices"][0]["message"]["content"]
    assert whole["model"] == "two"

    streamed = await ask(two.upstream, "Say yes.", max_tokens=4, stream=True, stream_options={"include_usage": True})
    events = streamed.decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["usage"]["completion_tokens"] > 0

    with pytest.raises(RequestError, match=r"has `[0-9]+` tokens and `two` takes `512`"):
        await ask(two.upstream, "word " * 2000)


async def test_its_door_asks_for_a_key_that_ray_never_sees(two: Running) -> None:
    client = make_client("wire")
    stranger = client.upstream("two", two.upstream.base_url, "engine-guess", None)
    assert await stranger.probe() == "refuses its key (status 401)"
    with pytest.raises(Exception, match="401"):
        await ask(stranger, "Hi")
    await client.close()

    door = two.door()
    key = door.environ()["CHANGEOVER_RAY_KEY"]
    others = [each for each in two.processes() if each.pid != door.pid]
    assert len(others) > 5
    assert not any(key in words(each) or key in each.environ().values() for each in others)


async def test_rays_own_ports_refuse_whoever_has_no_token(rays: Rays, two: Running) -> None:
    address, token = two.cluster()
    program = f"import ray; ray.init(address='{address}', log_to_driver=False); print('joined')"
    assert Path(token).stat().st_mode & 0o077 == 0
    # One after the other: each may take seconds.
    without = await asyncio.to_thread(rays.run, program, RAY_AUTH_MODE="disabled")
    wrong = await asyncio.to_thread(rays.run, program, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    right = await asyncio.to_thread(rays.run, program, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token)
    assert "joined" in right.stdout, right.stderr
    for refused in (without, wrong):
        assert refused.returncode != 0, refused.stdout
        assert "joined" not in refused.stdout
        assert "uthenticat" in refused.stderr, refused.stderr


async def test_who_leaves_in_the_middle_of_an_answer_frees_the_engine(two: Running) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Count."}], "max_tokens": 450, "stream": True}).encode()
    async with two.upstream.send(CHAT, body, first_byte_s=PATIENCE_S, stall_s=PATIENCE_S) as answer:
        assert await answer.piece()

    async def busy_s() -> float:
        before = {each.pid: seconds(each) for each in two.engines()}
        await asyncio.sleep(1)
        return sum(seconds(each) - before[each.pid] for each in two.engines())

    # 450 tokens take it several seconds of work; idle it does next to nothing.
    spent = [await busy_s() for _ in range(2)]
    assert spent[-1] < 0.3


async def test_an_engine_that_is_killed_costs_no_request_that_had_no_answer_yet(two: Running) -> None:
    asked = [asyncio.create_task(ask(two.upstream, f"Count to {number}.", max_tokens=32)) for number in range(12)]
    await asyncio.sleep(0.3)
    killed, kept = two.engines()
    killed.kill()

    answers = await asyncio.gather(*asked)

    assert all(json.loads(each)["choices"] for each in answers)
    assert await until(lambda: len(two.engines()) == 2 and killed.pid not in {each.pid for each in two.engines()})
    assert kept.is_running()
    assert two.supervisor.status("two").restarts == 0, "Ray mends it, not the supervisor"


async def test_another_deployment_runs_in_the_same_cluster_and_leaves_it_as_it_was(
    rays: Rays, two: Running, logs: Path
) -> None:
    address, token = two.cluster()
    guest = rays.plan("guest", address=address, token_file=token, cores=0.5)
    before = len(two.engines())
    async with rays.deployed(logs, guest) as running:
        assert json.loads(await ask(running.upstream, "Hi", max_tokens=2))["model"] == "guest"
        assert len(two.engines()) == before + 1, "it runs where Ray puts it, and not under its own warden"
        left = running.processes()
    assert not alive(left)
    assert await until(lambda: len(two.engines()) == before), "its replica is still there"
    assert json.loads(await ask(two.upstream, "Hi", max_tokens=2))["choices"]


async def test_a_replica_that_ray_has_no_place_for_is_said(rays: Rays, two: Running, logs: Path) -> None:
    address, token = two.cluster()
    supervisor = rays.supervisor(logs)
    try:
        await supervisor.ensure(rays.plan("large", address=address, token_file=token, cores=500))
        log = logs / "large.log"
        assert await until(lambda: log.exists() and '"CPU": 500.0' in log.read_text()), log.read_text()
    finally:
        await supervisor.close()
    program = (
        f"import ray, time; from ray import serve; ray.init(address='{address}', log_to_driver=False)\n"
        "while 'changeover-large' in serve.status().applications: time.sleep(0.2)\n"
        "print(*serve.status().applications)"
    )
    listed = await asyncio.to_thread(rays.run, program, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token)
    assert "changeover-two" in listed.stdout, listed.stderr


async def test_replicas_come_with_the_load_and_go_with_it(rays: Rays, logs: Path) -> None:
    moving = rays.plan("moving", most_replicas=2, ongoing_requests=1, upscale_delay_s=1, downscale_delay_s=2)
    async with rays.deployed(logs, moving) as running:
        assert len(running.engines()) == 1
        more = False
        deadline = time.monotonic() + PATIENCE_S
        while not more and time.monotonic() < deadline:
            asked = (ask(running.upstream, f"Count to {number}.", max_tokens=64) for number in range(8))
            assert all(json.loads(each)["choices"] for each in await asyncio.gather(*asked))
            more = len(running.engines()) == 2
        assert more, "no replica was added"
        assert await until(lambda: len(running.engines()) == 1), "the second one was never taken away"
        assert json.loads(await ask(running.upstream, "Hi", max_tokens=2))["choices"]
        left = running.processes()
    assert not alive(left)


async def test_why_a_replica_does_not_start_is_said(rays: Rays, tmp_path: Path) -> None:
    broken = tmp_path / "model.gguf"
    whole = rays.weights.read_bytes()
    broken.write_bytes(whole.replace(b"llama.block_count", b"llama.block_cuont", 1))
    launch = rays.launch(rays.plan("broken", broken))
    engine = ChildEngine(launch, EngineLog(tmp_path / "broken.log"), os.environ)
    with pytest.raises(EngineError, match="block_count"):
        await engine.start(START_S)
    await engine.stop(5)


KEEPING = """
import json, os, subprocess, sys
told = json.loads(sys.argv[1])
for _ in range(3):
    warden = subprocess.Popen(told['argv'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    warden.stdin.write(json.dumps({**told['config'], 'secret': 's', 'parent': os.getpid()}).encode() + b'\\n')
    warden.stdin.flush()
    said = warden.stdout.readline().decode()
    if '"ready": true' in said:
        break
    warden.wait()
print(warden.pid, said, flush=True)
warden.wait()
"""
"""A supervisor that can be killed. It tries again as ours does: Ray gives its own node 30 s, too few on very busy cores."""


@pytest.mark.parametrize("killed", ["supervisor", "warden", "raylet"])
async def test_whoever_is_killed_nothing_is_left(rays: Rays, tmp_path: Path, killed: str) -> None:
    launch = rays.launch(rays.plan("killed", replicas=1))
    told = json.dumps({"argv": launch.argv, "config": launch.config})
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", KEEPING, told], stdout=subprocess.PIPE, stderr=log, text=True
        ) as parent,
    ):
        assert parent.stdout is not None
        said = await asyncio.to_thread(parent.stdout.readline)
        assert '"ready": true' in said, (tmp_path / "log").read_text()
        warden = psutil.Process(int(said.split()[0]))
        processes = [warden, *warden.children(recursive=True)]
        raylet = next(each for each in processes if "raylet/raylet" in words(each))
        victim = {"supervisor": psutil.Process(parent.pid), "warden": warden, "raylet": raylet}[killed]
        victim.send_signal(signal.SIGKILL)
        try:
            assert await until(lambda: not alive(processes)), [words(each) for each in alive(processes)]
        finally:
            for each in processes:
                if each.is_running():
                    each.kill()
            parent.kill()

"""What is measured: an embedded engine as a deployment starts it, a gateway before that very process, llama.cpp alone."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.gateway.process import free_port
from changeover.app.create import create_installation
from changeover.app.deploy import declared_variant, deploy
from changeover.core.errors import ChangeoverError
from changeover.core.settings import open_project
from changeover.gateway.keys import issue_key
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.serving.backends import BACKENDS, Launch
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, Ready, ready_deadline_s
from changeover.serving.queries import note_state
from changeover.serving.upstream import Upstream

TASK = "notes"
KEY = "SERVING_BENCHMARK_KEY"
START_S = 60.0
STOP_S = 10.0
SETTINGS = 'name = "bench"\n[gateway]\nmax_in_flight = 256\n'
DECLARATION = """\
description = "Answers notes."
prompt = "notes.prompt.md"
dataset = "../evals/notes.jsonl"
first_incumbent = "echo"
record = "full"
[scorer]
name = "contains"
"""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An embedded engine that runs."""

    port: int
    secret: str
    pid: int
    load_s: float
    """From its start to where it could answer."""

    def memory_mib(self) -> float:
        """Resident."""
        return psutil.Process(self.pid).memory_info().rss / (1 << 20)


@asynccontextmanager
async def engine(plan: EnginePlan, directory: Path) -> AsyncGenerator[Engine]:
    """The engine of a plan, started as a deployment's is."""
    launch = BACKENDS[plan.backend].launch(plan)
    assert isinstance(launch, Launch)
    child = ChildEngine(launch, EngineLog(directory / "engine.log"), os.environ)
    try:
        began = time.perf_counter()
        ready: Ready = await child.start(ready_deadline_s(plan.artifact))
        load_s = time.perf_counter() - began
        assert child.pid is not None
        yield Engine(port=ready.port, secret=ready.secret, pid=child.pid, load_s=load_s)
    finally:
        await child.stop(STOP_S)


@dataclass(frozen=True, kw_only=True)
class Door:
    """A gateway that runs, and a key for it."""

    port: int
    secret: str
    pid: int


class Behind(Protocol):
    """Where an engine answers."""

    @property
    def port(self) -> int: ...
    @property
    def secret(self) -> str: ...


@contextmanager
def gateway(behind: Behind, directory: Path) -> Generator[Door]:
    """`changeover up` on a project whose one task the engine answers; every exchange is recorded whole."""
    secret = _make_project(directory, behind)
    port = free_port()
    program = str(Path(sys.executable).with_name("changeover"))
    with _dying(
        (program, "up", "--json", "--until-stdin-closes", "--port", str(port)),
        directory=directory,
        environment={KEY: behind.secret},
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"the gateway did not start: see {directory / 'said.log'}")
        yield Door(port=port, secret=secret, pid=process.pid)


class Native:
    """llama.cpp in a bare process."""

    def __init__(self, process: subprocess.Popen[str], load_s: float) -> None:
        self._process = process
        self.load_s = load_s

    def tokens_per_s(self, bodies: Sequence[Mapping[str, Any]], at_once: int) -> float:
        """The pace of so many native calls, so many of them at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"at_once": at_once, "bodies": list(bodies)}), file=self._process.stdin, flush=True)
        found = json.loads(self._process.stdout.readline())
        return float(found["tokens"]) / float(found["seconds"])


@contextmanager
def native(plan: EnginePlan, threads: int, directory: Path) -> Generator[Native]:
    """llama.cpp without ours, loaded with the weights of a plan."""
    options = plan.options
    config = {
        "artifact": str(plan.artifact),
        "slots": options["slots"],
        "context_tokens": options["context_tokens"],
        "threads": threads,
    }
    argv = (sys.executable, "-m", "benchmarks.serving.native")
    environment = {"GOMP_SPINCOUNT": "1000", "PYTHONPATH": str(Path.cwd())}
    began = time.perf_counter()
    with _dying(argv, directory=directory, environment=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(config), file=process.stdin, flush=True)
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"llama.cpp did not load the model: see {directory / 'said.log'}")
        yield Native(process, time.perf_counter() - began)


async def patiently(through: Upstream) -> None:
    """Wait until a gateway has seen that its engine can answer."""
    body = {"model": TASK, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi."}]}
    deadline = time.monotonic() + START_S
    while True:
        try:
            await through.fetch(
                "/v1/chat/completions", json.dumps(body).encode(), first_byte_s=START_S, stall_s=START_S
            )
        except ChangeoverError as exc:
            if time.monotonic() > deadline:
                raise SystemExit(f"the gateway did not answer in a minute: {exc}") from exc
            await asyncio.sleep(0.1)
        else:
            return


@contextmanager
def _dying(argv: Sequence[str], *, directory: Path, environment: Mapping[str, str]) -> Generator[subprocess.Popen[str]]:
    """A program that does not outlive this process; what it says on standard error goes to `said.log`."""

    def die_with_us() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with (directory / "said.log").open("a") as log:
        process = subprocess.Popen(
            argv,
            cwd=None if "-m" in argv else directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment},
            preexec_fn=die_with_us,
        )
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _make_project(directory: Path, behind: Behind) -> str:
    """Write a project with one task that the engine answers; gives the secret of its key."""
    for name in ("tasks", "evals"):
        (directory / name).mkdir(parents=True)
    (directory / "changeover.toml").write_text(SETTINGS)
    (directory / "tasks" / f"{TASK}.toml").write_text(DECLARATION)
    (directory / "tasks" / f"{TASK}.prompt.md").write_text("")
    row = {"id": "1", "input": "Which?", "target": "This"}
    (directory / "evals" / f"{TASK}.jsonl").write_text(json.dumps(row) + "\n")
    installation = create_installation(open_project(directory))
    now = installation.clock.now()
    options = {"base_url": f"http://127.0.0.1:{behind.port}/v1", "api_key_env": KEY}
    deploy(
        installation, EnginePlan(deployment="direct", backend="openai", model="direct", options=options), "benchmark"
    )
    with installation.store.write() as connection:
        note_state(connection, "direct", state="ready", detail="", now=now)
    variant = declared_variant(installation, TASK, "direct")
    with installation.store.write() as connection:
        begin(connection, variant, By(actor="benchmark", reason="first", now=now))
        secret = issue_key(connection, name="bench", role="application", now=now)
    installation.store.close()
    return secret

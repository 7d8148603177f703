"""Engines as real child processes: started, watched, killed, restarted, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError, EngineError, UpstreamError
from changeover.serving.backends import EchoBackend, Launch
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, Ready
from changeover.serving.supervisor import DeploymentStatus, Supervisor, Timing
from changeover.serving.upstream import ClientKind, Upstream

PATH = "/v1/chat/completions"
HASTY = Timing(ready_base_s=10.0, health_every_s=0.1, health_timeout_s=0.2, elsewhere_every_s=0.1, stop_grace_s=0.5)
SERVER = """
    import json, signal, socketserver, sys, time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    json.loads(sys.stdin.readline())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(60)

        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"word ")
                self.wfile.flush()
                time.sleep(0.05)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({"ready": True, "port": server.server_address[1]}), flush=True)
    server.serve_forever()
"""
"""An engine so busy that it cannot say it is well, though it goes on answering."""
BRISK = Timing(health_every_s=0.05, health_timeout_s=0.1, stop_grace_s=0.2)
"""Finds an engine hung within half a second."""
STUBBORN = """
    import json, signal, sys, time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(json.dumps({"ready": True, "port": 9}), flush=True)
    time.sleep(60)
"""


@dataclass
class Scripted(EchoBackend):
    """Launches a program of the test's own in place of the engine."""

    program: str

    def launch(self, plan: EnginePlan) -> Launch:
        return Launch(argv=(sys.executable, "-c", textwrap.dedent(self.program)), config={})


@dataclass
class Watched:
    """Supervisors of one test, and what they reported."""

    logs: Path
    client: ClientKind
    changes: list[DeploymentStatus] = field(default_factory=list[DeploymentStatus])
    made: list[Supervisor] = field(default_factory=list[Supervisor])

    def supervisor(
        self,
        *,
        program: str | None = None,
        timing: Timing = HASTY,
        environment: dict[str, str] | None = None,
        on_change: Callable[[DeploymentStatus], None] | None = None,
    ) -> Supervisor:
        backend = EchoBackend() if program is None else Scripted(program)
        made = Supervisor(
            SystemClock(),
            self.logs,
            on_change or self.changes.append,
            timing=timing,
            environment=environment,
            client=self.client,
            **({} if environment is not None and program is None else {"backends": {"echo": backend}}),
        )
        self.made.append(made)
        return made

    def states(self) -> list[str]:
        return [status.state for status in self.changes]


@pytest.fixture(params=["aiohttp", "wire"])
async def watched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "logs", request.param)
    yield watched
    for supervisor in watched.made:
        await supervisor.close()


def echo(**options: Json) -> EnginePlan:
    return EnginePlan(deployment="d", backend="echo", model="m", options=options)


async def ready(supervisor: Supervisor, plan: EnginePlan) -> Upstream:
    await supervisor.ensure(plan)
    await supervisor.wait_ready(plan.deployment, 20)
    upstream = supervisor.upstream(plan.deployment)
    assert upstream is not None
    return upstream


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.status("d").pid
    assert pid is not None
    return pid


def of_kernel(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


def runs(pid: int) -> bool:
    """Whether a process does anything; one that has ended and waits for its parent to notice does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ask(upstream: Upstream, text: str = "hello there", *, stream: bool = False) -> bytes:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}).encode()
    async with upstream.send(PATH, body, first_byte_s=5, stall_s=5) as answer:
        return await answer.read()


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> float:
    """Wait for something that happens outside this process; seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_a_deployment_becomes_ready_and_answers(watched: Watched) -> None:
    supervisor = watched.supervisor()

    upstream = await ready(supervisor, echo())

    assert b'"hello there"' in await ask(upstream)
    assert (await ask(upstream, stream=True)).endswith(b"data: [DONE]\n\n")
    status = supervisor.status("d")
    assert (status.state, status.restarts, status.detail) == ("ready", 0, "")
    assert status.address == upstream.base_url
    assert status.started_at is not None
    assert status.memory_bytes is not None
    assert status.memory_bytes > 1 << 20
    assert [each.pid for each in supervisor.statuses()] == [status.pid]
    assert watched.states() == ["starting", "ready"]


async def test_an_engine_has_no_rights_no_secrets_and_no_open_door(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    supervisor = watched.supervisor()
    await ready(supervisor, echo())
    process = psutil.Process(pid_of(supervisor))

    listening = [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    assert process.uids().real == (65534 if os.getuid() == 0 else os.getuid())
    assert process.uids().real == process.uids().effective == process.uids().saved
    assert os.getsid(process.pid) == process.pid
    assert "engine-" not in " ".join(process.cmdline())
    assert "hunter2" not in " ".join(process.environ().values())
    if sys.platform == "linux":
        assert "NoNewPrivs:\t1" in of_kernel(process.pid, "status")
        assert re.search(r"Max core file size +0 +0 ", of_kernel(process.pid, "limits"))


async def test_a_killed_engine_is_seen_at_once_and_is_back_within_a_second_or_two(watched: Watched) -> None:
    supervisor = watched.supervisor()
    await ready(supervisor, echo())
    first = pid_of(supervisor)

    os.kill(first, signal.SIGKILL)
    assert await until(lambda: supervisor.upstream("d") is None) < 1.5, "sooner than anybody looks"
    await supervisor.wait_ready("d", 20)

    upstream = supervisor.upstream("d")
    assert upstream is not None
    assert b"hello" in await ask(upstream)
    assert pid_of(supervisor) != first
    assert supervisor.status("d").restarts == 1
    assert watched.states() == ["starting", "ready", "restarting", "ready"]
    assert watched.changes[2].detail == "was killed by SIGKILL"
    assert watched.changes[2].pid is None


async def test_a_request_in_flight_when_the_engine_dies_fails_cleanly(watched: Watched) -> None:
    supervisor = watched.supervisor()
    upstream = await ready(supervisor, echo(delay_s=30))
    request = asyncio.create_task(ask(upstream))
    await until(lambda: upstream.in_flight == 1)
    await asyncio.sleep(0.05)

    os.kill(pid_of(supervisor), signal.SIGKILL)

    with pytest.raises(UpstreamError):
        await request
    assert upstream.in_flight == 0


async def test_a_hung_engine_is_replaced(watched: Watched) -> None:
    supervisor = watched.supervisor(timing=BRISK)
    await ready(supervisor, echo())
    hung = pid_of(supervisor)

    os.kill(hung, signal.SIGSTOP)
    await until(lambda: not runs(hung))
    await until(lambda: supervisor.status("d").restarts)  # hears of its end some moments later
    await supervisor.wait_ready("d", 20)

    assert supervisor.status("d").restarts == 1
    assert watched.changes[2].detail == "hung: it sent nothing within 0.1 s, 3 times in a row"


async def test_an_engine_that_is_only_busy_is_left_alone(watched: Watched) -> None:
    supervisor = watched.supervisor(program=SERVER, timing=HASTY)
    upstream = await ready(supervisor, echo())

    # 2 s of answering without one look that succeeds: twice as long as a hung engine lives.
    assert await ask(upstream) == b"word " * 40
    assert supervisor.status("d").restarts == 0

    await until(lambda: supervisor.status("d").restarts > 0)


async def test_an_engine_that_never_becomes_ready_is_said_to_be_late(watched: Watched) -> None:
    supervisor = watched.supervisor(timing=Timing(ready_base_s=1.5, stop_grace_s=0.2))
    await supervisor.ensure(echo(ready_delay_s=60))

    with pytest.raises(EngineError, match=r"Not ready within 0.2 s: `d` is starting\."):
        await supervisor.wait_ready("d", 0.2)
    await until(lambda: watched.states() == ["starting", "restarting"])

    assert watched.changes[1].detail == "was not ready within 1.5 s"
    assert supervisor.upstream("d") is None


async def test_an_engine_that_always_fails_is_given_up_with_its_own_words(watched: Watched) -> None:
    supervisor = watched.supervisor(program="import sys; sys.exit('no such tensor')")
    await supervisor.ensure(echo())

    with pytest.raises(EngineError) as caught:
        await supervisor.wait_ready("d", 20)

    assert re.search(r"`d` is failed: gave up: 5 starts failed within \d+ s", caught.value.message)
    assert "ended with status 1; its log says: no such tensor" in caught.value.message
    assert watched.states() == ["starting", "restarting", "failed"]
    assert supervisor.status("d").restarts == 4

    await supervisor.ensure(echo())
    assert supervisor.status("d").state == "starting"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("print('hello')", "did not say on which port it is ready"),
        ('print(\'{"ready": true, "port": 700000}\')', "did not say on which port it is ready"),
        ('print(\'{"ready": false, "error": "no memory"}\')', "could not start: no memory"),
        ("print('x' * 200_000)", "said something endless"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "was killed by SIGABRT"),
    ],
)
async def test_a_start_that_goes_wrong_says_how(watched: Watched, program: str, says: str) -> None:
    supervisor = watched.supervisor(program=program)
    await supervisor.ensure(echo())

    await until(lambda: len(watched.changes) > 1)

    assert says in watched.changes[1].detail


async def test_a_program_that_is_not_there_is_named(watched: Watched) -> None:
    class Missing(EchoBackend):
        def launch(self, plan: EnginePlan) -> Launch:
            return Launch(argv=("/nowhere/engine",), config={})

    supervisor = Supervisor(SystemClock(), watched.logs, watched.changes.append, backends={"echo": Missing()})
    watched.made.append(supervisor)
    await supervisor.ensure(echo())

    await until(lambda: len(watched.changes) > 1)

    assert "could not be started: No such file or directory (`/nowhere/engine`)" in watched.changes[1].detail


async def test_an_engine_that_will_not_end_is_killed(watched: Watched) -> None:
    supervisor = watched.supervisor(program=STUBBORN, timing=Timing(stop_grace_s=0.3))
    await ready(supervisor, echo())
    pid = pid_of(supervisor)

    began = time.monotonic()
    await supervisor.stop("d")

    assert 0.3 <= time.monotonic() - began < 10
    assert not runs(pid)
    assert supervisor.status("d").state == "stopped"


async def test_a_stop_waits_for_the_requests_in_flight_and_takes_no_new_ones(watched: Watched) -> None:
    supervisor = watched.supervisor()
    upstream = await ready(supervisor, echo(delay_s=0.5))
    pid = pid_of(supervisor)
    request = asyncio.create_task(ask(upstream))
    await until(lambda: upstream.in_flight == 1)

    stop = asyncio.create_task(supervisor.stop("d", drain_s=5))
    await asyncio.sleep(0.05)

    assert supervisor.upstream("d") is None
    assert (supervisor.status("d").state, supervisor.status("d").detail) == ("ready", "finishing its last requests")
    assert b"hello" in await request
    await stop
    assert not runs(pid)
    with pytest.raises(EngineError, match="`d` is stopped"):
        await supervisor.wait_ready("d", 1)


async def test_a_stop_does_not_wait_for_ever(watched: Watched) -> None:
    supervisor = watched.supervisor()
    upstream = await ready(supervisor, echo(fault="hang"))
    request = asyncio.create_task(ask(upstream))
    await until(lambda: upstream.in_flight == 1)

    await supervisor.stop("d", drain_s=0.1)

    with pytest.raises(UpstreamError):
        await request


async def test_what_is_asked_for_again_while_it_stops_starts_afterwards(watched: Watched) -> None:
    supervisor = watched.supervisor()
    upstream = await ready(supervisor, echo(delay_s=0.3))
    request = asyncio.create_task(ask(upstream))
    await until(lambda: upstream.in_flight == 1)
    stop = asyncio.create_task(supervisor.stop("d", drain_s=5))
    await asyncio.sleep(0.02)

    other = await ready(supervisor, echo(reply="another plan"))

    assert request.done()
    assert stop.done()
    assert b"another plan" in await ask(other)


async def test_asking_twice_changes_nothing_and_asking_for_something_else_is_refused(watched: Watched) -> None:
    supervisor = watched.supervisor()
    await ready(supervisor, echo())
    pid = pid_of(supervisor)

    await supervisor.ensure(echo(chunks=8))
    with pytest.raises(ConfigError, match="already runs with another plan"):
        await supervisor.ensure(echo(chunks=9))

    assert pid_of(supervisor) == pid


async def test_a_deployment_that_does_not_run_here_is_said_so(watched: Watched) -> None:
    supervisor = watched.supervisor()

    assert supervisor.upstream("d") is None
    with pytest.raises(EngineError, match="No deployment named `d`"):
        supervisor.status("d")
    with pytest.raises(EngineError, match="No deployment named `d`"):
        await supervisor.stop("d")


async def test_a_listener_that_fails_stops_no_restart(watched: Watched) -> None:
    def fail(status: DeploymentStatus) -> None:
        raise ValueError(status.state)

    supervisor = watched.supervisor(on_change=fail)
    await ready(supervisor, echo())

    os.kill(pid_of(supervisor), signal.SIGKILL)
    await until(lambda: supervisor.upstream("d") is None)

    await supervisor.wait_ready("d", 20)


async def test_closing_leaves_no_process_and_can_be_followed_by_a_new_start(watched: Watched) -> None:
    supervisor = watched.supervisor()
    await ready(supervisor, echo())
    pid = pid_of(supervisor)

    await supervisor.close()

    assert not runs(pid)
    assert supervisor.status("d").state == "stopped"
    assert b"hello" in await ask(await ready(supervisor, echo()))


async def test_a_start_that_is_cancelled_leaves_no_process(watched: Watched) -> None:
    supervisor = watched.supervisor()
    await supervisor.ensure(echo(ready_delay_s=60))
    await until(lambda: supervisor.status("d").pid is not None)
    pid = pid_of(supervisor)

    await supervisor.close()

    assert not runs(pid)


async def test_a_log_is_private_and_holds_what_the_engine_wrote(watched: Watched) -> None:
    supervisor = watched.supervisor(program="import sys; print('loading', file=sys.stderr); print('oops')")
    await supervisor.ensure(echo())
    await until(lambda: len(watched.changes) > 1)

    log = watched.logs / "d.log"
    assert log.read_text().startswith("loading\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[tuple[ChildEngine, Ready]]:
    """An engine that no supervisor knows, and how to reach it."""
    engine = ChildEngine(EchoBackend().launch(echo()), EngineLog(tmp_path / "elsewhere.log"), os.environ)
    yield engine, await engine.start(10)
    await engine.stop(1)


def far(port: int, **options: Json) -> EnginePlan:
    return EnginePlan(
        deployment="far",
        backend="openai",
        model="card",
        options={"base_url": f"http://127.0.0.1:{port}/v1", "model": "m", **options},
    )


async def test_an_engine_elsewhere_is_followed_through_its_absence(
    watched: Watched, elsewhere: tuple[ChildEngine, Ready]
) -> None:
    engine, there = elsewhere
    supervisor = watched.supervisor(environment={"THEIR_KEY": there.secret})

    upstream = await ready(supervisor, far(there.port, api_key_env="THEIR_KEY"))

    assert upstream.model == "m"
    assert b"hello" in await ask(upstream)
    assert supervisor.status("far").pid is None

    await engine.stop(1)
    await until(lambda: supervisor.upstream("far") is None)
    assert supervisor.status("far").detail == "cannot be reached (connection refused)"


@pytest.mark.parametrize(
    ("environment", "says"),
    [({}, "variable `THEIR_KEY` that shall hold its key is not set"), ({"THEIR_KEY": "wrong"}, "refuses its key")],
)
async def test_an_engine_elsewhere_without_a_right_key_is_never_ready(
    watched: Watched, elsewhere: tuple[ChildEngine, Ready], environment: dict[str, str], says: str
) -> None:
    supervisor = watched.supervisor(environment=environment)
    await supervisor.ensure(far(elsewhere[1].port, api_key_env="THEIR_KEY"))

    with pytest.raises(EngineError, match=says) as caught:
        await supervisor.wait_ready("far", 1.0)
    assert "wrong" not in caught.value.message


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from changeover.core.clock import SystemClock
    from changeover.serving.plan import EnginePlan
    from changeover.serving.supervisor import Supervisor

    async def main():
        supervisor = Supervisor(SystemClock(), Path(sys.argv[1]))
        for name, delay_s in (("ready", 0), ("loading", 60)):
            await supervisor.ensure(
                EnginePlan(deployment=name, backend="echo", model="m", options={"ready_delay_s": delay_s})
            )
        await supervisor.wait_ready("ready", 10)
        print(*(status.pid for status in supervisor.statuses()), flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_no_engine_outlives_its_parent_however_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(runs(pid) for pid in pids)

    parent.send_signal(how)
    await parent.wait()

    assert await until(lambda: not any(runs(pid) for pid in pids)) < 2.0


CHECKED = """
    import json, sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer

    json.loads(sys.stdin.readline())

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps({"choices": [{"message": {"content": "yes"}}] if ANSWERS else []}).encode()
            print(asked["max_tokens"], "asked", file=sys.stderr, flush=True)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({"ready": True, "port": server.server_address[1]}), flush=True)
    server.serve_forever()
"""
"""An engine that says of each request that it was asked."""


@dataclass
class Checked(Scripted):
    """One whose first answer is checked."""

    def launch(self, plan: EnginePlan) -> Launch:
        return replace(super().launch(plan), first_answer=True)


@pytest.mark.parametrize("answers", [True, False])
async def test_an_engine_is_ready_once_it_has_answered_and_only_the_first_time(tmp_path: Path, answers: bool) -> None:
    backend = Checked(CHECKED.replace("ANSWERS", str(answers)))
    supervisor = Supervisor(SystemClock(), tmp_path, backends={"echo": backend}, timing=HASTY)
    try:
        await supervisor.ensure(EnginePlan(deployment="it", backend="echo", model="it"))
        if not answers:
            with pytest.raises(EngineError, match="failed its first answer: it has no `choices`"):
                await supervisor.wait_ready("it", 20)
            return
        await supervisor.wait_ready("it", 10)
        first = supervisor.status("it")
        assert re.fullmatch(r"[\d.]+ s, first answer checked", first.detail)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while supervisor.status("it").pid in (first.pid, None) or supervisor.upstream("it") is None:
                await asyncio.sleep(0.02)
        assert supervisor.status("it").detail == ""
        assert (tmp_path / "it.log").read_text().count("1 asked") == 1
    finally:
        await supervisor.close()


async def test_an_engine_that_drains_can_be_kept_on(watched: Watched) -> None:
    supervisor = watched.supervisor()
    await supervisor.ensure(EnginePlan(deployment="it", backend="echo", model="it", options={"delay_s": 1.0}))
    await supervisor.wait_ready("it", 10)
    upstream = supervisor.upstream("it")
    assert upstream is not None
    asked = json.dumps({"model": "it", "messages": [{"role": "user", "content": "hi"}]}).encode()
    asking = asyncio.create_task(upstream.fetch(PATH, asked, first_byte_s=5, stall_s=5))
    await asyncio.sleep(0.1)
    draining = asyncio.create_task(supervisor.drain("it"))
    await asyncio.sleep(0.1)
    assert supervisor.upstream("it") is None
    assert supervisor.in_flight("it") == 1
    draining.cancel()
    supervisor.keep_on("it")
    assert supervisor.upstream("it") is upstream
    assert (supervisor.status("it").state, supervisor.status("it").detail) == ("ready", "")
    await asking

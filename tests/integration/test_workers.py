"""Several gateways on one address: one in what they answer by, apart in what breaks."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support import postgres
from tests.support.processes import PATIENCE_S, Up, line_of, load, start, system, until
from tests.support.projects import deploy_echo, write_project

from changeover.app.local import operator_key
from changeover.gateway.keys import issue_key
from changeover.gateway.limits import parse_limit
from changeover.gateway.usage_queries import usage_lines
from changeover.rollouts import actions
from changeover.serving.queries import find_deployment, want
from changeover.tasks.queries import recent_exchanges

CHAT = "/v1/chat/completions"
WORDS = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"
FOLLOWED_S = 15.0
"""A quarter of a second on a machine that has nothing else to do."""


@dataclass
class Line:
    """One connection that is kept: all that is asked on it is answered by one worker."""

    connection: http.client.HTTPConnection
    worker: int
    key: str
    operator: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the last answer."""

    def begin(self, task: str = "echo", text: str = "hello there", **fields: Any) -> http.client.HTTPResponse:
        """Ask, and wait for the head of the answer."""
        body = {"model": task, "messages": [{"role": "user", "content": text}], **fields}
        self._send("POST", CHAT, self.key, json.dumps(body))
        response = self.connection.getresponse()
        self.headers = dict(response.headers)
        return response

    def ask(self, task: str = "echo", **fields: Any) -> int:
        """The status of a whole answer."""
        response = self.begin(task, **fields)
        response.read()
        return response.status

    def page(self, path: str, key: str | None = None) -> bytes:
        """What a page shows an operator, or whose key is given."""
        self._send("GET", path, key or self.operator)
        response = self.connection.getresponse()
        said = response.read()
        return said if response.status == 200 else b"{}"

    def health(self) -> Any:
        return json.loads(self.page("/healthz"))

    def _send(self, method: str, path: str, key: str, body: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.connection.request(method, path, body, headers)


@contextmanager
def lines(up: Up, count: int = 2) -> Generator[list[Line]]:
    """A connection to each of the workers."""
    host, port = up.address.removeprefix("http://").split(":")
    operator = operator_key(up.project / ".changeover")
    opened: list[Line] = []
    found: dict[int, Line] = {}
    try:
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < deadline, f"only {sorted(found)} of {count} workers answer"
            line = Line(http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S), 0, up.key, operator)
            opened.append(line)
            line.worker = line.health()["worker"]
            found.setdefault(line.worker, line)
        yield [found[number] for number in sorted(found)]
    finally:
        for line in opened:
            line.connection.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("workers") / "p")


@pytest.fixture(scope="module")
def up(project: Path) -> Generator[Up]:
    """Two workers, as the settings say."""
    with system(project) as it:
        until(lambda: all(it.ready(name) for name in ("echo", "echo-slow")))
        yield it


def test_every_worker_follows_a_new_route_and_says_which_one_answered(up: Up) -> None:
    with lines(up) as both:
        assert [line.worker for line in both] == [1, 2]
        for deployment in ("second", "third"):
            _route_to(up, deployment)
            began = time.monotonic()
            for line in both:
                until(lambda line=line, name=deployment: _answers(line) == name, FOLLOWED_S)
            assert time.monotonic() - began < FOLLOWED_S
            # The end of a bake time may write another revision between two looks.
            until(lambda: {_revision(line) for line in both} == {str(line.health()["route_revision"]) for line in both})


def test_limits_of_a_key_hold_over_all_workers(up: Up) -> None:
    with up.opened() as installation, installation.store.write() as connection:
        limit = parse_limit("requests/total=20")
        key = issue_key(connection, name="few", role="application", now=installation.clock.now(), limits=[limit])
    statuses: list[int] = []

    def caller(line: Line) -> None:
        line.key = key
        until(lambda: line.page("/v1/models", key) != b"{}")
        statuses.extend([line.ask() for _ in range(18)])

    with lines(up) as both:
        _at_once(caller, both)
    assert sorted(statuses) == [200] * 20 + [429] * 16


def test_metrics_are_one_total_whichever_worker_is_asked(up: Up) -> None:
    with lines(up) as both:
        for line, times in zip(both, (3, 4), strict=True):
            assert [line.ask("metered") for _ in range(times)] == [200] * times
        for line in both:
            until(lambda line=line: _finished(line, "metered") == 7)
        assert sum("process_cpu_seconds_total" in line.page("/metrics").decode() for line in both) == 0


def test_no_secret_of_an_engine_is_in_any_argument_or_environment(up: Up) -> None:
    everybody = psutil.Process(up.process.pid).children(recursive=True)
    assert len(everybody) >= 4
    for process in everybody:
        seen = "\n".join([*process.cmdline(), *process.environ().values()])
        assert not re.search(r"engine-[\w-]{43}", seen), process.cmdline()


def test_an_engine_is_stopped_when_no_worker_has_a_request_there(up: Up) -> None:
    _route_to(up, "going", task="slow", chunk_delay_s=0.1, chunks=20)
    with lines(up) as both:
        for line in both:
            until(lambda line=line: _answers(line, "slow") == "going")
        streams = [line.begin("slow", WORDS, stream=True) for line in both]
        with up.opened() as installation, installation.store.write() as connection:
            want(connection, "going", "stopped", installation.clock.now())
        assert [_text(stream.read()) for stream in streams] == [WORDS, WORDS]
    until(lambda: _state(up, "going") == "stopped")


def test_a_worker_that_is_killed_takes_its_own_connections_with_it_and_is_back(up: Up) -> None:
    with lines(up) as (doomed, other), load(up, "echo", clients=4) as seen:
        before = _process(up, doomed.worker)
        assert before is not None
        broken = doomed.begin("slow", WORDS, stream=True)
        whole = other.begin("slow", WORDS, stream=True)
        until(lambda: seen.requests > 20)
        failed = len(seen.failed)
        os.kill(before.pid, signal.SIGKILL)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            broken.read()
        until(lambda: _process(up, doomed.worker, but=before))
        assert _text(whole.read()) == WORDS
        requests = seen.requests
        until(lambda: seen.requests > requests + 50)
        with lines(up):
            pass
    assert failed == 0
    assert len(seen.failed) <= 4, "each caller has one request under way"
    assert all("Reset" in problem or "Disconnected" in problem for problem in seen.failed), seen.failed
    assert "gateway worker 1 was killed by SIGKILL; it is started again" in up.log()


def test_a_worker_that_is_asked_to_end_breaks_no_answer_and_is_started_again(up: Up) -> None:
    with load(up, "echo", clients=4) as seen:
        for number in (1, 2):
            before = until(lambda number=number: _process(up, number))
            assert before is not None
            before.terminate()
            until(lambda number=number, before=before: _process(up, number, but=before))
            with lines(up):
                pass
    # A connection that was taken in the very moment may be closed before its request is read.
    assert len(seen.failed) <= 2 * 4
    assert all("Reset" in problem or "Disconnected" in problem for problem in seen.failed), seen.failed


def test_a_switch_under_load_over_two_workers_loses_no_request(up: Up) -> None:
    with load(up, "metered", clients=4) as seen:
        until(lambda: seen.requests > 10)
        _begin(up, "better", "metered")
        until(lambda: up.routed("metered") == ("better", None))
        requests = seen.requests
        until(lambda: seen.requests > requests + 20)
    assert seen.failed == []
    assert seen.answered_by == {"echo", "better"}


def test_a_signal_lets_streams_of_all_workers_end_and_refuses_whoever_comes(tmp_path: Path) -> None:
    up = start(_write(tmp_path / "p"), "--workers", "2")
    until(lambda: up.ready("echo-slow"))
    with lines(up) as both:
        for line in both:
            assert line.ask("slow") == 200
        streams = [line.begin("slow", WORDS, stream=True) for line in both]
        up.process.send_signal(signal.SIGINT)
        until(lambda: not _listens(up))
        assert up.process.poll() is None, "streams are under way"
        assert [_text(stream.read()) for stream in streams] == [WORDS, WORDS]
    assert up.stop() == 0, up.log()
    assert "Traceback" not in up.log()
    with up.opened() as installation, installation.store.read() as connection:
        now = installation.clock.now()
        used = usage_lines(connection, ["task"], now - timedelta(hours=3), now + timedelta(hours=1), internal=False)
        rows = recent_exchanges(connection, "slow")
    assert [(line.of, line.requests, line.failed) for line in used] == [(("slow",), 4, 0)]
    assert [(row.status, row.stream, row.truncated) for row in rows].count((200, True, False)) == 2


def test_a_second_signal_waits_for_no_answer(tmp_path: Path) -> None:
    up = start(_write(tmp_path / "p", chunk_delay_s=30), "--workers", "2")
    until(lambda: up.ready("echo-slow"))
    with lines(up) as both:
        stream = both[0].begin("slow", WORDS, stream=True)
        up.process.send_signal(signal.SIGTERM)
        until(lambda: not _listens(up))
        assert up.stop() == 0, up.log()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.read()


def test_workers_and_engines_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    up = start(_write(tmp_path / "p"), "--workers", "2")
    until(lambda: up.ready("echo"))
    everybody = psutil.Process(up.process.pid).children(recursive=True)
    assert len(everybody) >= 4
    with lines(up) as both:
        assert [line.ask() for line in both] == [200, 200]
        up.stop(signal.SIGKILL)
        until(lambda: not any(_lives(process) for process in everybody))
    assert not _listens(up)


def test_the_option_wins_over_the_settings_and_one_worker_is_the_process_itself(tmp_path: Path) -> None:
    with system(_write(tmp_path / "p"), "--workers", "1") as up:
        until(lambda: up.ready("echo"))
        assert _workers(up) == []
        assert up.ask() == "hello there"


def test_declarations_are_watched_for_all_workers(tmp_path: Path) -> None:
    with system(_write(tmp_path / "p"), "--watch") as up, lines(up) as both:
        text = (up.project / "tasks" / "echo.toml").read_text()
        (up.project / "tasks" / "fresh.toml").write_text(text)
        for line in both:
            until(lambda line=line: b'"fresh"' in line.page("/v1/models", up.key))
            assert line.ask("fresh") == 200
        (up.project / "tasks" / "broken.toml").write_text("description = 1\n")
        until(lambda: "not applied" in up.log())
        assert [line.ask("fresh") for line in both] == [200, 200]


def test_workers_that_lost_the_store_answer_from_their_last_snapshot_and_say_so(
    own_postgres: postgres.Server, tmp_path: Path
) -> None:
    project = postgres.keep_in(_write(tmp_path / "p"), own_postgres.fresh())
    with system(project) as up, lines(up) as both:
        until(lambda: up.ready("echo"))
        assert [line.ask() for line in both] == [200, 200]
        assert {line.health()["store_stale"] for line in both} == {False}
        own_postgres.stop()
        for line in both:
            until(lambda line=line: line.health()["store_stale"])
            before = line.headers["x-changeover-route"]
            assert (line.ask(), line.headers["x-changeover-route"]) == (200, before)
        own_postgres.start()
        for line in both:
            until(lambda line=line: not line.health()["store_stale"])
            until(lambda line=line: line.health()["records_waiting"] == 0)
        with up.opened() as installation, installation.store.read() as connection:
            assert len(recent_exchanges(connection, "echo")) == 4
        assert postgres.PASSWORD not in up.log()


def _write(directory: Path, chunk_delay_s: float = 0.1) -> Path:
    """A project with two workers and three tasks, one of which answers slowly."""
    write_project(directory, ("echo", "metered", "slow"), gateway="ready_wait_s = 5\nworkers = 2")
    with (directory / "tasks" / "slow.toml").open("a") as task:
        task.write(f"[echo]\nchunk_delay_s = {chunk_delay_s}\nchunks = 20\n")
    return directory


def _begin(up: Up, name: str, task: str, **options: object) -> None:
    """Deploy an echo engine, and begin a rollout with the task's own steps once it is ready."""
    with up.opened() as installation:
        variant = deploy_echo(installation, name, task, **options)
        until(lambda: up.ready(name))
        plan = actions.plan_of(installation.tasks[task].declared)
        by = actions.By(actor="test", reason="test", now=installation.clock.now())
        with installation.store.write() as connection:
            actions.start(connection, variant, plan, None, by)


def _route_to(up: Up, name: str, task: str = "echo", **options: object) -> None:
    """Make an echo engine the incumbent of a task, at once."""
    _begin(up, name, task, **options)
    ended = up.call("promote", task)
    assert ended.status == 0, ended


def _revision(line: Line, task: str = "echo") -> str:
    assert line.ask(task) == 200
    return line.headers["x-changeover-route"]


def _answers(line: Line, task: str = "echo") -> str:
    assert line.ask(task) == 200
    return line.headers["x-changeover-deployment"]


def _finished(line: Line, task: str) -> float:
    """Requests of a task, as the metrics say."""
    families = text_string_to_metric_families(line.page("/metrics").decode())
    samples = [sample for family in families for sample in family.samples]
    return sum(s.value for s in samples if s.name == "changeover_requests_total" and s.labels["task"] == task)


def _text(stream: bytes) -> str:
    """The text of a whole stream."""
    events = [line.removeprefix(b"data: ") for line in stream.splitlines() if line]
    assert events.pop() == b"[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _at_once(work: Any, over: list[Line]) -> None:
    threads = [threading.Thread(target=work, args=(line,)) for line in over]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _workers(up: Up) -> list[psutil.Process]:
    children = psutil.Process(up.process.pid).children()
    return [child for child in children if "changeover.app.worker" in line_of(child).split()]


def _process(up: Up, number: int, but: psutil.Process | None = None) -> psutil.Process | None:
    """A worker's process; another one than it was, if that is given."""
    found = [each for each in _workers(up) if each != but and line_of(each).endswith(f" {number}")]
    return found[0] if found else None


def _state(up: Up, name: str) -> str:
    with up.opened() as installation, installation.store.read() as connection:
        return find_deployment(connection, name).state


def _listens(up: Up) -> bool:
    host, port = up.address.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

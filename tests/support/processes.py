"""Changeover as a user starts it: commands and the running system as processes of their own, and load on the system."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from sqlalchemy import Connection
from tests.support import forked

from changeover.app.installation import Installation, open_installation
from changeover.core.settings import open_project
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import find_deployment, load_variants
from changeover.store.engine import Store
from changeover.tasks.queries import current_route

COMMAND = (sys.executable, "-m", "changeover")
PATIENCE_S = 60.0
"""For what takes a second on an idle machine."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, status: int) -> str:
        """The one line on standard error that says what is wrong, after the command's own notes."""
        assert self.status == status, self
        lines = [line for line in self.err.splitlines() if line.startswith("error ")]
        assert len(lines) == 1, self
        assert self.err.rstrip().endswith(lines[0]), self
        assert "Traceback" not in self.err, self
        return lines[0].removeprefix("error ")


def begin(project: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start a command in a project and do not wait for it."""
    return subprocess.Popen(
        (*COMMAND, *arguments), cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def end_of(process: subprocess.Popen[str], text: str | None = None) -> Ended:
    """Wait for the end of a command."""
    try:
        out, err = process.communicate(text, timeout=2 * PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it does not end:\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


def changeover(project: Path, *arguments: str, text: str | None = None, **more: Any) -> Ended:
    """Run a command in a project, with a text on its standard input, to its end."""
    stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
    return end_of(begin(project, *arguments, stdin=stdin, **more), text)


def command(project: Path, *arguments: str) -> Ended:
    """The same without what it takes to begin: a command that is forked, see `forked`."""
    return Ended(*forked.run(project, arguments, os.environ, 2 * PATIENCE_S))


def until(condition: Callable[[], Found], patience_s: float = PATIENCE_S) -> Found:
    """Wait until a condition gives something true; gives it."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {patience_s:g} s"
        time.sleep(0.02)
    return found


@dataclass
class Up:
    """`changeover up`, listening."""

    process: subprocess.Popen[str]
    project: Path
    address: str
    key: str
    """An application's."""

    def call(self, *arguments: str, text: str | None = None, user: str | None = None) -> Ended:
        """Run a command in its project, as somebody else if a `user` is named."""
        environment = dict(os.environ) if user is None else {**os.environ, "LOGNAME": user}
        if text is not None:
            return changeover(self.project, *arguments, text=text, env=environment)
        return Ended(*forked.run(self.project, arguments, environment, 2 * PATIENCE_S))

    def engines(self) -> list[psutil.Process]:
        """Its engines' processes."""
        return [each for each in psutil.Process(self.process.pid).children() if "changeover.serving" in line_of(each)]

    def functions(self) -> list[psutil.Process]:
        """Processes in which a tool's function runs."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in children if "function_worker" in line_of(each)]

    @contextmanager
    def opened(self) -> Generator[Installation]:
        """Its project, as another command opens it: for setting the stage and for looking without a process."""
        installation = open_installation(open_project(self.project))
        try:
            yield installation
        finally:
            installation.store.close()

    @contextmanager
    def rows(self) -> Generator[Connection]:
        """What its store holds now. For waiting: a command for every look would slow down what is waited for."""
        store = Store.open(open_project(self.project).store_url)
        try:
            with store.read() as connection:
                yield connection
        finally:
            store.close()

    def ready(self, name: str) -> int | None:
        """Process id of a deployment that can answer; None of one that cannot."""
        with self.rows() as connection:
            row = find_deployment(connection, name)
        return row.pid if row.state == "ready" else None

    def rollout(self, task: str = "echo") -> Rollout | None:
        """A task's newest rollout."""
        with self.rows() as connection:
            return latest_rollout(connection, task)

    def state(self, task: str = "echo") -> str | None:
        """Of a task's newest rollout; None: there was none."""
        newest = self.rollout(task)
        return None if newest is None else newest.state

    def held(self, task: str) -> bool:
        """Whether a task's newest rollout is on hold."""
        newest = self.rollout(task)
        return newest is not None and newest.hold is not None

    def routed(self, task: str = "echo") -> tuple[str, str | None]:
        """Deployments of a task's incumbent and candidate, as the newest revision says."""
        with self.rows() as connection:
            route = current_route(connection, task)
            assert route is not None
            variants = load_variants(connection, route.variants())
        candidate = None if route.candidate is None else variants[route.candidate].deployment
        return variants[route.incumbent].deployment, candidate

    def answering(self, task: str = "echo") -> str:
        """Who answers a whole request now; one that need not be streamed, so that it takes no time."""
        with urllib.request.urlopen(self.request(task), timeout=PATIENCE_S) as response:
            response.read()
            return response.headers["x-changeover-deployment"]

    def log(self) -> str:
        return (self.project / "up.log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(2 * PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def request(self, task: str = "echo", text: str = "hello there", **fields: Any) -> urllib.request.Request:
        body = {"model": task, "messages": [{"role": "user", "content": text}], **fields}
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return urllib.request.Request(f"{self.address}/v1/chat/completions", json.dumps(body).encode(), headers)

    def ask(self, task: str = "echo", text: str = "hello there", **fields: Any) -> str:
        """The whole answer's text."""
        with urllib.request.urlopen(self.request(task, text, **fields), timeout=PATIENCE_S) as response:
            return json.loads(response.read())["choices"][0]["message"]["content"]


def line_of(process: psutil.Process) -> str:
    """A process's command; empty once it has ended, which it may do between two looks."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def start(project: Path, *options: str, key: str | None = None, environment: Mapping[str, str] | None = None) -> Up:
    """Start `changeover up` on a project and wait until it listens. Its log is `up.log`.

    Args:
        project: As `write_project` wrote it.
        options: More options of the command.
        key: Of an earlier start: only the first one prints it.
        environment: On top of this process's.
    """
    with (project / "up.log").open("a") as log:
        process = subprocess.Popen(
            (*COMMAND, "up", "--json", "--until-stdin-closes", *options),
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise AssertionError((project / "up.log").read_text())
    said = json.loads(line)
    return Up(process, project, said["address"], said["first_key"] or key)


@contextmanager
def system(
    project: Path, *options: str, key: str | None = None, environment: Mapping[str, str] | None = None
) -> Generator[Up]:
    """`changeover up` for the length of the block; its standard input closes at the end, as a parent's would."""
    up = start(project, *options, key=key, environment=environment)
    try:
        yield up
    finally:
        if up.process.stdin is not None and not up.process.stdin.closed:
            up.process.stdin.close()
        try:
            up.process.wait(2 * PATIENCE_S)
        except subprocess.TimeoutExpired:
            up.process.kill()
            raise
        finally:
            up.stop()


@dataclass
class Load:
    """What callers saw."""

    requests: int = 0
    failed: list[str] = field(default_factory=list[str])
    answered_by: set[str] = field(default_factory=set[str])


@contextmanager
def load(up: Up, task: str, clients: int = 2) -> Generator[Load]:
    """Ask a task without a pause, each time as another user, for the length of the block."""
    seen, stop, numbers, lock = Load(), threading.Event(), itertools.count(), threading.Lock()

    def client() -> None:
        while not stop.is_set():
            with lock:
                number = next(numbers)
            who, problem = "", None
            try:
                with urllib.request.urlopen(up.request(task, user=f"u{number}"), timeout=PATIENCE_S) as response:
                    response.read()
                    who = response.headers["x-changeover-deployment"]
            except (urllib.error.URLError, OSError) as exc:
                problem = repr(exc)
            with lock:
                seen.requests += 1
                if problem is None:
                    seen.answered_by.add(who)
                else:
                    seen.failed.append(problem)
            stop.wait(0.01)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()

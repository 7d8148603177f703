"""Engines of every kind that the tests can have are unplugged in the middle of traffic, in every way there is.

Each kind answers a task of its own, as its incumbent or in a canary, and another variant could answer that task: the former
incumbent, or the other side. All kinds are unplugged at once, over two gateways, under whole and streamed requests.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.support.loras import card_of, gguf_lora
from tests.support.processes import Up, start, until
from tests.support.traffic import Traffic, give_traffic, no_request_failed

from changeover.app.adapting import attachment
from changeover.app.deploy import deploy
from changeover.app.local import operator_key
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.fetch.progress import Silent
from changeover.library.pull import artifact_path, present, pull
from changeover.serving.deployments import plan_for_card
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import want

ROOT = Path(__file__).parents[2]
MODEL, TUNE = "smollm2-135m-instruct", "our-tune"
PROMOTED = ("local", "echo", "ollama")
"""Kinds that are the incumbent of their task; the former one is an echo engine."""
IN_CANARY = ("adapter", "llama-server", "openai")
"""Kinds that answer half of their task; an echo engine answers the other half."""
KINDS = (*PROMOTED, *IN_CANARY)
WITH_WARDEN = ("llama-server", "ollama")
OURS = ("local", "echo", *WITH_WARDEN)
"""Those with a process of ours; an adapter has its base's."""
IDLE_S = 4.0
TASK = """\
description = "Says something."
prompt = "say.prompt.md"
dataset = "../evals/say.jsonl"
first_incumbent = "echo"
timeout_s = 60
first_token_s = 2
bake_s = 100_000
[parameters]
temperature = 0.0
max_tokens = 4
[scorer]
name = "contains"
[gate]
margin = 0.05
"""

pytestmark = pytest.mark.models


def name_of(kind: str) -> str:
    return f"the-{kind}"


class Elsewhere:
    """A server of somebody else's, which nobody here starts again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        told = {"OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": str(self._directory)}
        (self._directory / "manifests").mkdir(parents=True, exist_ok=True)
        (self._directory / "manifests" / "theirs").touch()
        self._process = subprocess.Popen(
            (sys.executable, "-m", "tests.support.fake_ollama", "serve"), cwd=ROOT, env={**os.environ, **told}
        )
        until(self._listens)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Generator[Elsewhere]:
    server = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    server.begin()
    yield server
    server.end()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere) -> Generator[Up]:
    artifact = Catalogue.load().card(MODEL).artifacts[0]
    if not present(artifact, cache_directory()):
        pytest.skip(f"{MODEL} is not in the cache `{cache_directory()}`; `changeover pull {MODEL}` fetches it")
    project = _written(tmp_path_factory.mktemp("unplugged") / "p", artifact_path(artifact, cache_directory()))
    it = start(project)
    try:
        _deployed(it, elsewhere)
        yield it
    finally:
        it.stop()


def _written(project: Path, weights: Path) -> Path:
    for part in ("tasks", "evals", "library"):
        (project / part).mkdir(parents=True)
    homes = ""
    for engine, module in (("llama-server", "llama_server"), ("ollama", "fake_ollama")):
        program = project / engine
        program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.support.{module} "$@"\n')
        program.chmod(0o755)
        homes += f'[engines.homes.{engine}]\ncommand = "{program}"\n'
    gateway = "[gateway]\nport = 0\nworkers = 2\nready_wait_s = 30\n"
    engines = f"[engines]\nslots = 4\ncontext_tokens = 512\nthreads = 1\nmemory_limit = 1.1\nidle_unload_s = {IDLE_S}\n"
    (project / "changeover.toml").write_text(f'name = "unplugged"\n{gateway}{engines}{homes}')
    (project / "tasks" / "say.prompt.md").write_text("Be brief.\n")
    (project / "evals" / "say.jsonl").write_text('{"id": "a", "input": "Paris?", "target": "Paris"}\n')
    for kind in (*KINDS, "leaking"):
        (project / "tasks" / f"{kind}.toml").write_text(TASK)
    cards = ""
    for seed, name in enumerate((TUNE, "our-second-tune")):
        file = gguf_lora(project / f"{name}.gguf", weights, seed=seed)
        cards += card_of(file, name, base=MODEL)
    (project / "library" / "ours.toml").write_text(cards)
    return project


def _deployed(up: Up, elsewhere: Elsewhere) -> None:
    with up.opened() as installation:
        cache, engines = installation.project.cache, installation.project.settings.engines
        card = installation.catalogue.card(MODEL)
        plans = [
            plan_for_card(card, cache, engines, name=name_of("local")),
            plan_for_card(card, cache, engines, name=name_of("llama-server"), backend="llama-server"),
            _plan("echo"),
            _plan("ollama", name="qwen3:0.6b"),
            _plan("openai", base_url=f"http://127.0.0.1:{elsewhere.port}/v1", model="theirs"),
        ]
        for plan in plans:
            deploy(installation, plan, "test")
    _attach(up, TUNE, name_of("adapter"))
    for kind in KINDS:
        give_traffic(up, kind, name_of(kind), promoted=kind in PROMOTED)


def _plan(kind: str, **options: object) -> EnginePlan:
    return EnginePlan(deployment=name_of(kind), backend=kind, model=MODEL, options=options)  # pyright: ignore[reportArgumentType]


def _attach(up: Up, card: str, name: str) -> None:
    with up.opened() as installation:
        options = {"base": name_of("local")}
        attached = attachment(installation, installation.catalogue.card(card), name=name, options=options)
        pull(attached.artifact, installation.project.cache, Silent())
        deploy(installation, attached.plan, "test")


def the_process(up: Up, kind: str) -> psutil.Process:
    """The one that answers, which a warden has started."""
    process = the_warden(up, kind)
    if kind not in WITH_WARDEN:
        return process
    return until(lambda: process.children(recursive=True))[-1]


def the_warden(up: Up, kind: str) -> psutil.Process:
    return psutil.Process(until(lambda: up.ready(name_of(kind))))


def answers_again(up: Up, traffic: Traffic, kinds: Iterable[str]) -> None:
    """Wait until each kind answers some more."""
    before = {kind: traffic.answered(kind, name_of(kind)) for kind in kinds}
    until(lambda: all(traffic.answered(kind, name_of(kind)) > count + 4 for kind, count in before.items()))


def killed(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    """`kill -9` of every process that answers."""
    before = {kind: the_warden(up, kind).pid for kind in OURS}
    for kind in OURS:
        the_process(up, kind).kill()
    elsewhere.end()
    until(lambda: all(up.ready(name_of(kind)) not in (None, pid) for kind, pid in before.items()))
    elsewhere.begin()
    return KINDS


def wardens_killed(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    before = {kind: the_warden(up, kind).pid for kind in WITH_WARDEN}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(up.ready(name_of(kind)) not in (None, pid) for kind, pid in before.items()))
    return WITH_WARDEN


def hanging(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    """Every process stands still, as one does that waits for a disk, and goes on unless somebody took it for dead."""
    stopped = [the_process(up, kind) for kind in OURS]
    asked = {kind: traffic.seen[kind].requests for kind in KINDS}
    for process in stopped:
        process.suspend()
    elsewhere.send(signal.SIGSTOP)
    until(lambda: all(traffic.seen[kind].requests > count + 6 for kind, count in asked.items()))
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    elsewhere.send(signal.SIGCONT)
    return KINDS


def stopped_and_begun(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    """As `undeploy` and `deploy` do, whoever needs it."""
    for desired, pid_there in (("stopped", False), ("running", True)):
        with up.opened() as installation, installation.store.write() as connection:
            for kind in (*OURS, "adapter", "openai"):
                want(connection, name_of(kind), desired, installation.clock.now())
        until(lambda pid_there=pid_there: all((up.ready(name_of(kind)) is not None) == pid_there for kind in OURS))
    return KINDS


def one_more_adapter(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    """The base is exchanged for a process that holds it too."""
    before = the_process(up, "local").pid
    _attach(up, "our-second-tune", "second")
    until(lambda: up.ready(name_of("local")) not in (None, before))
    return ("local", "adapter")


def leaking(up: Up, traffic: Traffic, elsewhere: Elsewhere) -> Collection[str]:
    """One takes more memory than it may, and is renewed."""
    with up.opened() as installation:
        plan = EnginePlan(
            deployment="leaky", backend="echo", model="leaky", options={"behaviour": "leaks", "memory_mib": 16}
        )
        deploy(installation, plan, "test")
    pid = until(lambda: up.ready("leaky"))
    give_traffic(up, "leaking", "leaky", promoted=True)
    until(lambda: traffic.answered("leaking", "leaky") > 0)
    until(lambda: up.ready("leaky") not in (None, pid))
    with up.opened() as installation, installation.store.write() as connection:
        want(connection, "leaky", "stopped", installation.clock.now())
    return ()


WAYS: tuple[Callable[[Up, Traffic, Elsewhere], Collection[str]], ...] = (
    killed,
    wardens_killed,
    hanging,
    stopped_and_begun,
    one_more_adapter,
    leaking,
)


@pytest.mark.parametrize("unplugged", WAYS, ids=lambda way: way.__name__)
def test_no_request_fails_while_engines_are(
    up: Up, elsewhere: Elsewhere, unplugged: Callable[[Up, Traffic, Elsewhere], Collection[str]]
) -> None:
    traffic = Traffic(up)
    with traffic.to((*KINDS, "leaking")) as seen:
        answers_again(up, traffic, KINDS)
        answers_again(up, traffic, unplugged(up, traffic, elsewhere))
    no_request_failed(seen)


def test_who_asks_engines_that_were_unloaded_waits_for_them(up: Up) -> None:
    until(lambda: not up.engines())
    traffic = Traffic(up)
    with traffic.to(KINDS) as seen:
        answers_again(up, traffic, KINDS)
    no_request_failed(seen)


def test_where_nobody_else_can_answer_whole_requests_wait_for_an_engine_that_comes_back(up: Up) -> None:
    names = [f"@{name_of(kind)}" for kind in (*OURS, "adapter")]
    traffic = Traffic(up, key=operator_key(up.project / ".changeover"), streams=False, fields={"max_tokens": 4})
    with traffic.to(names, clients=3) as seen:
        until(lambda: all(each.requests > 3 for each in seen.values()))
        before = {kind: the_process(up, kind) for kind in OURS}
        for process in before.values():
            process.kill()
        asked = {name: seen[name].requests for name in names}
        until(lambda: all(seen[name].requests > count + 6 for name, count in asked.items()))
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in before.values())
    no_request_failed(seen)

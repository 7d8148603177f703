"""Heavy engines are unplugged in the middle of traffic, one kind at a time, while the former incumbent could answer.

SmolLM2. `pytest tests/engines/test_unplugged_engines.py -k openvino` runs one kind: most machines hold no more at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest
from tests.support.processes import Up, line_of, start, until
from tests.support.traffic import Traffic, give_traffic, no_request_failed

from changeover.app.deploy import deploy
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.rollouts.actions import By, roll_back
from changeover.rollouts.queries import latest_rollout
from changeover.serving.deployments import plan_for_card
from changeover.serving.options import BackendName, Json

SMALL = "smollm2-135m-instruct"
NAME = "unplugged"
PATIENCE_S = 400
"""For one start of an engine."""
TASK = """\
description = "Says something."
prompt = "say.prompt.md"
dataset = "../evals/say.jsonl"
first_incumbent = "echo"
timeout_s = 600
first_token_s = 20
bake_s = {bake_s}
[parameters]
temperature = 0.0
max_tokens = 4
[scorer]
name = "contains"
[gate]
margin = 0.05
"""
OPTIONS: dict[BackendName, dict[str, Json]] = {
    "openvino": {},
    "transformers": {},
    "vllm": {"slots": 2},
    "ray": {"replicas": 2, "options": {"context_tokens": 512, "slots": 2, "threads": 1}},
}


@pytest.fixture(scope="module", params=[pytest.param(each, marks=pytest.mark.engine(each)) for each in OPTIONS])
def kind(request: pytest.FixtureRequest) -> BackendName:
    return request.param


@pytest.fixture(scope="module")
def up(
    kind: BackendName,
    home: Callable[[str], Path],
    weights: Callable[[str, str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Up]:
    """A task whose incumbent is the engine; the former one is an echo engine."""
    python = home(kind)
    if kind != "ray":
        weights(SMALL, kind)
    elif not present(Catalogue.load().card(SMALL).artifacts[0], cache_directory()):
        pytest.skip(f"{SMALL} is not in the cache `{cache_directory()}`; `changeover pull {SMALL}` fetches it")
    project = tmp_path_factory.mktemp(kind) / "p"
    for part in ("tasks", "evals"):
        (project / part).mkdir(parents=True)
    settings = "[gateway]\nport = 0\nworkers = 2\nready_wait_s = 500\n[engines]\nready_s = 300\ncontext_tokens = 512\n"
    home_of_it = f'[engines.homes.{kind}]\npython = "{python}"\n'
    (project / "changeover.toml").write_text(f'name = "unplugged"\n{settings}{home_of_it}')
    (project / "tasks" / "say.prompt.md").write_text("Be brief.\n")
    (project / "evals" / "say.jsonl").write_text('{"id": "a", "input": "Paris?", "target": "Paris"}\n')
    for task, bake_s in (("say", 100_000), ("alone", 0)):
        (project / "tasks" / f"{task}.toml").write_text(TASK.format(bake_s=bake_s))
    it = start(project)
    try:
        with it.opened() as installation:
            cache, engines = installation.project.cache, installation.project.settings.engines
            card = installation.catalogue.card(SMALL)
            deploy(
                installation,
                plan_for_card(card, cache, engines, backend=kind, name=NAME, options=OPTIONS[kind]),
                "test",
            )
        until(lambda: it.ready(NAME), PATIENCE_S)
        for task in ("say", "alone"):
            give_traffic(it, task, NAME, promoted=True)
        leave_alone(it, "alone")
        yield it
    finally:
        it.stop()


def one_inside(up: Up) -> psutil.Process:
    """The process that does the work: a replica's engine, an engine core, a worker; else the engine itself."""
    whole = psutil.Process(until(lambda: up.ready(NAME)))
    inside = whole.children(recursive=True)
    replicas = [each for each in inside if "changeover.serving.engines.local" in line_of(each)]
    return max(replicas or inside or [whole], key=lambda each: each.memory_info().rss)


def the_whole(up: Up) -> psutil.Process:
    return psutil.Process(until(lambda: up.ready(NAME)))


@pytest.mark.parametrize("chosen", [one_inside, the_whole], ids=lambda chosen: chosen.__name__)
def test_no_request_fails_while_the_former_incumbent_can_answer(up: Up, chosen: Callable[[Up], psutil.Process]) -> None:
    traffic = Traffic(up, patience_s=PATIENCE_S)
    with traffic.to(["say"]) as seen:
        until(lambda: traffic.answered("say", NAME) > 2, PATIENCE_S)
        chosen(up).kill()
        asked = seen["say"].requests
        until(lambda: seen["say"].requests > asked + 10, PATIENCE_S)
        until(lambda: up.ready(NAME), PATIENCE_S)
        before = traffic.answered("say", NAME)
        until(lambda: traffic.answered("say", NAME) > before + 2, PATIENCE_S)
    no_request_failed(seen)


def test_whole_requests_wait_for_it_where_nobody_else_can_answer(up: Up) -> None:
    traffic = Traffic(up, streams=False, patience_s=PATIENCE_S)
    with traffic.to(["alone"]) as seen:
        until(lambda: seen["alone"].requests > 2, PATIENCE_S)
        the_whole(up).kill()
        asked = seen["alone"].requests
        until(lambda: seen["alone"].requests > asked + 4, PATIENCE_S)
    no_request_failed(seen)


def leave_alone(up: Up, task: str) -> None:
    """Have nobody answer a task but its incumbent: who was promoted after it is rolled back, so it has no former one."""
    until(lambda: is_over(up, task))
    give_traffic(up, task, "echo", promoted=True)
    with up.opened() as installation, installation.store.write() as connection:
        by = By(actor="test", reason="test", now=installation.clock.now())
        assert roll_back(connection, task, by).former is None


def is_over(up: Up, task: str) -> bool:
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, task)
    return rollout is not None and rollout.state == "done"

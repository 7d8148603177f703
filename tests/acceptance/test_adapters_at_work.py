"""An organisation's fine-tune, from its file to a task and back, on a running system of several gateways."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.loras import card_of, gguf_lora
from tests.support.pages import ROOT, blocks_of
from tests.support.processes import Up, load, start, until
from tests.support.shell import commands

from changeover.app.deploy import declared_variant
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path, present
from changeover.rollouts.actions import By, plan_of, promote
from changeover.rollouts.actions import start as begin_rollout
from changeover.serving.queries import find_deployment, keep_variant

BASE, TUNE = "smollm2-135m-instruct", "minutes-tune"
TASK = """\
description = "Says something about a city."
prompt = "say.prompt.md"
dataset = "../evals/say.jsonl"
first_incumbent = "smollm2-135m-instruct"
timeout_s = 60
[parameters]
temperature = 0.0
max_tokens = 8
[scorer]
name = "contains"
[gate]
margin = 0.05
"""
QUESTION = "Write one sentence about the city of Paris and its river, its museums and its long history."

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """Two tasks on one small model, and the card of an adapter for it."""
    artifact = Catalogue.load().card(BASE).artifacts[0]
    if not present(artifact, cache_directory()):
        pytest.skip(f"{BASE} is not in the cache `{cache_directory()}`; `changeover pull {BASE}` fetches it")
    project = tmp_path_factory.mktemp("adapters") / "p"
    for part in ("tasks", "evals", "library"):
        (project / part).mkdir(parents=True)
    settings = "[gateway]\nport = 0\nready_wait_s = 30\nworkers = 2\n[engines]\nslots = 2\ncontext_tokens = 512\n"
    (project / "changeover.toml").write_text(f'name = "adapters"\n{settings}threads = 1\n')
    (project / "tasks" / "say.prompt.md").write_text("Be precise.\n")
    (project / "evals" / "say.jsonl").write_text('{"id": "a", "input": "Paris?", "target": "Paris"}\n')
    for task in ("first", "second"):
        (project / "tasks" / f"{task}.toml").write_text(TASK)
    file = gguf_lora(project / "adapter.gguf", artifact_path(artifact, cache_directory()))
    (project / "library" / "ours.toml").write_text(card_of(file, TUNE, base=BASE))
    it = start(project)
    try:
        until(lambda: it.ready(BASE))
        yield it
    finally:
        it.stop()


def switch(up: Up, task: str, to: str) -> None:
    with up.opened() as installation:
        variant = declared_variant(installation, task, to)
        by = By(actor="test", reason="switched", now=installation.clock.now())
        with installation.store.write() as connection:
            keep_variant(connection, variant, by.now)
            plan = plan_of(installation.tasks[task].declared)
            promote(connection, begin_rollout(connection, variant, plan, None, by), None, by)
    until(lambda: up.answering(task) == to)


def test_a_fine_tune_takes_over_a_task_and_gives_it_back_and_no_request_fails(up: Up) -> None:
    asked = (("first", QUESTION), ("second", QUESTION))
    plain = up.ask(*asked[0])
    assert up.ask(*asked[1]) == plain

    with load(up, "first", clients=1) as first, load(up, "second", clients=1) as second:
        deployed = up.call("deploy", TUNE, "--json")
        assert deployed.status == 0, deployed
        assert (deployed.json["engine"], deployed.json["state"]) == ("adapter", "ready")
        switch(up, "second", TUNE)
        until(lambda: TUNE in second.answered_by)

    tuned = up.ask(*asked[1])
    assert tuned != plain
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda n: (n % 2, up.ask(*asked[n % 2])), range(16)))
    assert {answer for side, answer in answers if side == 0} == {plain}
    assert {answer for side, answer in answers if side == 1} == {tuned}
    assert len(up.engines()) == 1

    assert f"`{BASE}` may have to answer" in up.call("undeploy", BASE).refused(1)
    with load(up, "second", clients=1) as again:
        rolled_back = up.call("rollback", "second", "--reason", "enough seen")
        assert rolled_back.status == 0, rolled_back
        until(lambda: BASE in again.answered_by)
    assert (first.failed, second.failed, again.failed) == ([], [], [])
    assert up.ask(*asked[1]) == plain


def test_a_base_is_not_stopped_under_its_adapters(up: Up) -> None:
    with up.opened() as installation:
        before = declared_variant(installation, "second", BASE).bundle.engine
        after = declared_variant(installation, "second", TUNE).bundle.engine
    assert (after.model, after.engine, after.engine_version) == (TUNE, before.engine, before.engine_version)
    assert after.weights_digest != before.weights_digest
    assert after.base == {"backend": "local", "model": BASE, "weights_digest": before.weights_digest, "scale": 1}
    assert up.call("deploy", BASE, "--name", "copy", "--instead-of", BASE).refused(1) == (
        f"`{BASE}` holds `{TUNE}`: adapters have no engine without it. `changeover undeploy {TUNE}` first."
    )
    wrong = up.call("deploy", TUNE, "--name", "x", "--engine", "adapter", "--option", "base=nothing").refused(1)
    assert wrong.startswith(f"No deployment named `nothing` to attach `{TUNE}` to.")


def test_the_guides_deployments_stand_side_by_side(up: Up) -> None:
    [block] = [
        block
        for block in blocks_of(ROOT / "docs" / "guides" / "adapters.md")
        if block.says.get("ranby") == "test_the_guides_deployments_stand_side_by_side"
    ]
    for line in commands(block.text):
        ended = up.call(*shlex.split(line)[1:])
        assert ended.status == 0, ended
    assert len(up.engines()) == 1
    with up.rows() as connection:
        assert [find_deployment(connection, name).state for name in ("minutes-half", TUNE)] == ["ready", "ready"]

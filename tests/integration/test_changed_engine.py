"""An engine that is another one after a start: routes follow, and kept answers are what it is measured against."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.support.projects import Running, deploy_echo, open_written, running, write_project

from changeover.app.deploy import declared_variant, incumbent_of
from changeover.app.installation import Installation
from changeover.app.kept import is_gone, match_of_rollout
from changeover.app.local import operator_key
from changeover.app.matching import prepared
from changeover.app.prepare import prepare
from changeover.app.steering import resume
from changeover.core.errors import DatasetError
from changeover.evals.caller import LateCaller
from changeover.evals.comparison import Live, compare
from changeover.evals.queries import StoredAnswer, add_answers
from changeover.evals.runner import Runner
from changeover.evals.sandbox import Sandbox
from changeover.rollouts.actions import By
from changeover.rollouts.decide import Rollout
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import want
from changeover.store.schema import deployments
from changeover.tasks.queries import current_route, route_history


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    project = write_project(tmp_path / "p")
    file = project / "tasks" / "echo.toml"
    # So wide that 60 samples decide.
    file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    return open_written(project)


def keep_answers(installation: Installation, number: int) -> None:
    """Keep what the incumbent says to the first samples: the echo engine repeats them."""
    samples = prepared(installation, "echo").dataset.samples[:number]
    with installation.store.write() as connection:
        bundle = incumbent_of(connection, "echo").bundle.digest
        add_answers(
            connection,
            [
                StoredAnswer(
                    id=0, bundle=bundle, sample=sample.asked, repeat=0, text=sample.text, error=None,
                    finish_reason="stop", prompt_tokens=1, completion_tokens=1, duration_ms=1.0,
                )
                for sample in samples
            ],
            installation.clock.now(),
        )  # fmt: skip


def start_with_another_engine(installation: Installation, **options: Any) -> None:
    """What a start does after the engine below a deployment has become another one."""
    with installation.store.write() as connection:
        connection.execute(update(deployments).where(deployments.c.name == "echo").values(options=options))
    prepare(installation)


def newest(installation: Installation) -> Rollout:
    with installation.store.read() as connection:
        found = latest_rollout(connection, "echo")
    assert found is not None
    return found


def by(installation: Installation) -> By:
    return By(actor="ana", reason="measure it", now=installation.clock.now())


async def measured(up: Running) -> Live:
    """Go on, and measure as the evaluator does."""
    rollout = resume(up.installation.store, "echo", by(up.installation))
    ready, match = match_of_rollout(up.installation, rollout, "ana")
    sandbox = Sandbox(up.installation.project.cache / "sandbox")
    caller = LateCaller(up.address, operator_key(up.installation.project.state))
    runner = Runner(
        store=up.installation.store, caller=caller, sandbox=sandbox, clock=up.installation.clock, at_once=4,
        judges=ready.judges,
    )  # fmt: skip
    try:
        _, ended = await compare(
            match, store=up.installation.store, runner=runner, clock=up.installation.clock, on_progress=lambda _: None
        )
    finally:
        await caller.close()
        await sandbox.close()
    return ended


@pytest.mark.parametrize(("options", "verdict"), [({"chunks": 3}, "pass"), ({"reply": "no"}, "fail")])
async def test_another_engine_is_measured_against_what_the_former_one_had_answered(
    installation: Installation, options: dict[str, Any], verdict: str
) -> None:
    keep_answers(installation, 60)
    start_with_another_engine(installation, **options)
    held = newest(installation)
    assert held.hold is not None
    assert f"{next(iter(options))} " in held.hold.reason, "it says what changed"
    with installation.store.read() as connection:
        route = current_route(connection, "echo")
        assert route is not None
        assert (route.incumbent, route.action) == (held.candidate, "engine")
    async with running(installation) as up:
        await up.ready("echo")
        assert await up.route() == route.revision, "nobody waits for the measurement"
        ended = await measured(up)
    assert ended.verdict == verdict
    assert ended.calls_cached >= ended.samples, "the former bundle was not asked: nobody could answer as it"


def test_too_few_kept_answers_are_said_to_be_too_few(installation: Installation) -> None:
    keep_answers(installation, 3)
    start_with_another_engine(installation, chunks=3)
    with pytest.raises(DatasetError, match=r"kept of 3 of the 60 samples of `echo`; 10 are needed"):
        match_of_rollout(installation, newest(installation), "ana")


def test_samples_without_a_kept_answer_are_left_out(installation: Installation) -> None:
    keep_answers(installation, 20)
    start_with_another_engine(installation, chunks=3)
    _, match = match_of_rollout(installation, newest(installation), "ana")
    assert len(match.dataset.samples) == 20
    assert match.plan.max_samples == 20
    with installation.store.read() as connection:
        assert is_gone(connection, match.incumbent)
        assert not is_gone(connection, match.candidate)


def test_an_engine_that_changes_while_it_is_stopped_comes_back_as_another_bundle(installation: Installation) -> None:
    measured = deploy_echo(installation, "other")
    with installation.store.write() as connection:
        want(connection, "other", "stopped", installation.clock.now())
        connection.execute(update(deployments).where(deployments.c.name == "other").values(options={"chunks": 3}))
    prepare(installation)
    with installation.store.read() as connection:
        routes = len(route_history(connection, "echo"))
    assert declared_variant(installation, "echo", "other").id != measured.id, "no verdict of before is about it"
    assert routes == 1, "nobody's route names it"


def test_a_start_with_the_same_engine_writes_nothing(installation: Installation) -> None:
    prepare(installation)
    with installation.store.read() as connection:
        assert len(route_history(connection, "echo")) == 1
        assert latest_rollout(connection, "echo") is None

"""Switching where memory holds one engine, as a user does it, with everything killed in the middle."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.support.processes import Up, command, load, start, system, until
from tests.support.projects import write_project

from changeover.app.deploy import declared_variant
from changeover.app.exchange import exchange_plan_of, keep_candidate, known_evidence, needs_exchange
from changeover.app.matching import match_of, prepared
from changeover.core.errors import GateError
from changeover.rollouts import actions
from changeover.rollouts.exchange import is_settled
from changeover.rollouts.queries import latest_rollout, rollout_history
from changeover.serving.queries import keep_variant

OLD = "echo-echo"
NEW = ("deploy", "new", "--engine", "echo", "--option", "memory_mib=700")


def written(directory: Path) -> Path:
    settings = "ready_wait_s = 0.2\n[engines]\nmemory_gib = 1.0\nready_s = 10\n"
    return write_project(directory, steps="[echo]\nmemory_mib = 700\n", gateway=settings)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return written(tmp_path / "p")


@pytest.fixture(scope="module")
def after_a_quiet_hour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project in which the candidate was deployed for a while, and its first key. It does not run."""
    project = written(tmp_path_factory.mktemp("quiet") / "p")
    with system(project) as up:
        until(lambda: up.ready(OLD))
        deployed_in_a_quiet_hour(up)
        until(lambda: up.ready(OLD))
    return project, up.key


@pytest.fixture
def measured(tmp_path: Path, after_a_quiet_hour: tuple[Path, str]) -> tuple[Path, str]:
    """A copy of it."""
    project, key = after_a_quiet_hour
    return shutil.copytree(project, tmp_path / "measured"), key


def promoted(up: Up) -> None:
    """Exchange by the promotion, as the controller does once the evidence is there."""
    with up.opened() as installation:
        variant = declared_variant(installation, "echo", "new")
        by = actions.By(actor="test", reason="for the test", now=installation.clock.now())
        with installation.store.write() as connection:
            keep_variant(connection, variant, by.now)
            plan = exchange_plan_of(installation, "echo", "new")
            rollout = actions.start(connection, variant, plan, None, by)
            actions.promote(connection, rollout, None, by)


def settled(up: Up) -> bool:
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, "echo")
        return rollout is not None and is_settled(rollout_history(connection, rollout.id))


def deployed_in_a_quiet_hour(up: Up) -> None:
    assert up.call(*NEW, "--option", "ready_delay_s=1", "--instead-of", OLD).status == 0, up.log()
    assert up.call("deploy", OLD, "--engine", "echo", "--instead-of", "new").status == 0, up.log()


def test_deploy_says_what_does_not_fit_and_exchanges_when_it_is_told_to(project: Path) -> None:
    with system(project) as up:
        until(lambda: up.ready(OLD))
        said = up.call(*NEW).refused(1)
        assert "`new` needs 0.7 GiB beside 0.7 GiB running; the budget is 1.0 GiB." in said
        assert f"Ask again with `--instead-of {OLD}`" in said
        deployed_in_a_quiet_hour(up)
        until(lambda: up.ready(OLD))
        assert up.ready("new") is None
        assert up.answering() == OLD
        rows = json.loads(up.call("status", "--json").out)["deployments"]
        assert {row["name"]: row["desired"] for row in rows} == {"new": "stopped", OLD: "running"}


def test_evidence_is_measured_in_a_quiet_hour_and_holds_when_the_candidate_runs_no_more(project: Path) -> None:
    task = project / "tasks" / "echo.toml"
    task.write_text(task.read_text().replace("margin = 0.05", "margin = 0.3"))  # a few samples are enough
    with system(project) as up:
        until(lambda: up.ready(OLD))
        with up.opened() as installation:
            ready = prepared(installation, "echo")
        assert up.call("eval", "echo", "--json").status == 0
        assert up.call(*NEW, "--instead-of", OLD).status == 0
        ended = up.call("compare", "echo", "--candidate", "new", "--json")
        assert ended.status == 0, ended
        assert ended.json["verdict"] == "pass", "of the incumbent, which does not run, the kept answers were enough"
        assert up.call("deploy", OLD, "--engine", "echo", "--instead-of", "new").status == 0
        with up.opened() as installation:
            assert needs_exchange(installation, "echo", "new")
            match = match_of(installation, ready, "new", "test")
            assert known_evidence(installation, match).verdict == "pass"
            keep_candidate(installation, "new", "test")
        stopped = until(lambda: up.ready(OLD))
        assert stopped
        assert up.ready("new") is None


def test_without_evidence_it_is_said_how_to_get_some(measured: tuple[Path, str]) -> None:
    project, key = measured
    with system(project, key=key) as up:
        with up.opened() as installation:
            match = match_of(installation, prepared(installation, "echo"), "new", "test")
            with pytest.raises(GateError, match="No evidence yet that `new` may answer `echo`") as no:
                known_evidence(installation, match)
        assert f"`changeover deploy new --instead-of {OLD}`" in no.value.message


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 0.8, 2.5])
def test_a_kill_at_any_moment_of_an_exchange_leaves_one_incumbent_that_answers(
    measured: tuple[Path, str], pause_s: float
) -> None:
    project, key = measured
    up = start(project, key=key)
    until(lambda: up.ready(OLD))
    promoted(up)
    time.sleep(pause_s)
    up.stop(signal.SIGKILL)
    with system(project, key=up.key) as again:
        with load(again, "echo") as seen:
            until(lambda: settled(again))
            until(lambda: again.ready("new"))
        assert seen.failed == []
        assert seen.answered_by == {"new"}
        assert again.routed() == ("new", None)
        assert len(again.engines()) == 1
        assert again.call("rollback", "echo").status == 0
        with load(again, "echo") as seen:
            until(lambda: again.ready(OLD))
        assert seen.failed == []
        assert again.state() == "rolled_back"
        assert again.routed() == (OLD, None)
        assert again.answering() == OLD


def test_a_kill_while_the_former_engine_is_brought_back_leaves_it_answering(project: Path) -> None:
    up = start(project)
    until(lambda: up.ready(OLD))
    assert up.call(*NEW, "--option", "fault=error_500", "--instead-of", OLD).status == 1, "it fails its first answer"
    assert command(project, "deploy", OLD, "--engine", "echo", "--instead-of", "new").status == 0
    promoted(up)
    until(lambda: up.state() == "rolled_back")
    up.stop(signal.SIGKILL)
    with system(project, key=up.key) as again:
        with load(again, "echo") as seen:
            until(lambda: again.ready(OLD))
        assert seen.failed == []
        assert again.routed() == (OLD, None)
        assert len(again.engines()) == 1

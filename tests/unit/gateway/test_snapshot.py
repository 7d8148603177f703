"""What a snapshot reads again after a change, and what it keeps."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.installation import Installation
from changeover.gateway.snapshot import Snapshots
from changeover.rollouts.actions import By, plan_of, promote, roll_back, start
from changeover.serving.queries import find_deployment, note_engine, note_state, want
from changeover.serving.variants import Variant


@pytest.fixture
def installation(tmp_path: Path) -> Generator[Installation]:
    opened = open_written(write_project(tmp_path / "p", tasks=("echo", "other")))
    yield opened
    opened.store.close()


def _by(installation: Installation) -> By:
    return By(actor="test", reason="test", now=installation.clock.now())


def _switch(installation: Installation, candidate: Variant) -> int:
    plan, by = plan_of(installation.tasks[candidate.task].declared), _by(installation)
    with installation.store.write() as connection:
        return promote(connection, start(connection, candidate, plan, None, by), None, by).revision


def test_a_switch_of_one_task_leaves_the_others_as_they_are_known(installation: Installation) -> None:
    candidate = deploy_echo(installation, "candidate")
    snapshots = Snapshots(installation.store, installation.clock)
    assert snapshots.refresh()
    before = snapshots.current
    revision = _switch(installation, candidate)
    assert snapshots.refresh()
    after = snapshots.current
    assert after.tasks["other"] is before.tasks["other"]
    assert (after.revision, after.tasks["echo"].route.revision) == (revision, revision)
    turns = after.tasks["echo"].turns("incumbent")
    assert [way.variant.deployment for _, way in turns] == ["candidate", "echo"]
    assert all(
        name in before.deployments and after.deployments[name] is before.deployments[name] for name in after.states
    )


def test_a_switch_and_the_way_back_are_each_followed(installation: Installation) -> None:
    candidate = deploy_echo(installation, "candidate")
    snapshots = Snapshots(installation.store, installation.clock)
    answering: list[str] = []
    for _ in range(2):
        _switch(installation, candidate)
        snapshots.refresh()
        answering.append(snapshots.current.tasks["echo"].turns("incumbent")[0][1].variant.deployment)
        with installation.store.write() as connection:
            roll_back(connection, "echo", _by(installation))
        snapshots.refresh()
        answering.append(snapshots.current.tasks["echo"].turns("incumbent")[0][1].variant.deployment)
    assert answering == ["candidate", "echo", "candidate", "echo"]


def test_a_deployment_that_comes_up_is_seen_without_any_new_route(installation: Installation) -> None:
    snapshots = Snapshots(installation.store, installation.clock)
    snapshots.refresh()
    tasks = snapshots.current.tasks
    deploy_echo(installation, "late")
    assert snapshots.refresh()
    assert "late" in snapshots.current.deployments
    with installation.store.write() as connection:
        note_state(connection, "late", state="ready", detail="", now=installation.clock.now())
    assert snapshots.refresh()
    assert snapshots.current.states["late"] == "ready"
    with installation.store.write() as connection:
        want(connection, "late", "stopped", installation.clock.now())
    assert snapshots.refresh()
    assert "late" not in snapshots.current.deployments
    assert snapshots.current.tasks["echo"] is tasks["echo"]
    assert not snapshots.refresh()


def test_another_engine_behind_a_deployment_is_seen_where_no_route_names_it(installation: Installation) -> None:
    deploy_echo(installation, "spare")
    snapshots = Snapshots(installation.store, installation.clock)
    snapshots.refresh()
    (before,) = snapshots.current.deployments["spare"].variants
    with installation.store.write() as connection:
        engine = find_deployment(connection, "spare").engine
        note_engine(connection, "spare", {**engine, "engine_version": "another"}, installation.clock.now())
    assert snapshots.refresh()
    (after,) = snapshots.current.deployments["spare"].variants
    assert after != before

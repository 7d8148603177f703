"""`changeover status` on a real store: which tasks it lists, and what it says of those that were taken out."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.processes import Ended
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.apply import apply
from changeover.app.installation import Installation, read_again
from changeover.cli.follow import event_line, header_lines
from changeover.cli.history import history_lines, revisions
from changeover.cli.main import run_command
from changeover.rollouts import actions
from changeover.rollouts.queries import latest_rollout, rollout_history


class User:
    """Somebody in the directory of a project with the tasks `echo` and `other`."""

    def __init__(self, installation: Installation, said: pytest.CaptureFixture[str]) -> None:
        self.installation = installation
        self._said = said

    def run(self, *arguments: str) -> Ended:
        self._said.readouterr()
        return Ended(run_command(arguments), *self._said.readouterr())

    def said(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.status == 0, ended
        return ended.out

    def lines_about(self, task: str, *more: str) -> list[str]:
        return [line for line in self.said("status", *more).splitlines() if line.startswith(task)]

    def names(self, key: str) -> list[Any]:
        return [row["task"] for row in json.loads(self.said("status", "--json"))[key]]

    def delete(self) -> None:
        """Take `other` out of the files."""
        (self.installation.project.root / "tasks" / "other.toml").unlink()

    def apply(self) -> None:
        assert apply(read_again(self.installation), "ana").committed

    def begin_rollout(self, *, promoted: bool, approvals: int = 0) -> None:
        """Bring `second` in for `other`, to its first canary step or to its bake time."""
        variant = deploy_echo(self.installation, "second", "other")
        plan = replace(actions.plan_of(self.installation.tasks["other"].declared), approvals=approvals)
        by = actions.By(actor="test", reason="test", now=self.installation.clock.now())
        with self.installation.store.write() as connection:
            rollout = actions.start(connection, variant, plan, None, by)
            if promoted:
                actions.promote(connection, rollout, None, by)

    def rollout_state(self) -> str:
        with self.installation.store.read() as connection:
            rollout = latest_rollout(connection, "other")
        assert rollout is not None
        return rollout.state


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator[User]:
    installation = open_written(write_project(tmp_path / "p", ("echo", "other")))
    monkeypatch.chdir(installation.project.root)
    yield User(installation, capsys)
    installation.store.close()


def test_a_task_is_listed_as_long_as_it_is_answered(user: User) -> None:
    assert user.names("tasks") == ["echo", "other"]
    user.delete()
    assert user.names("tasks") == ["echo", "other"], "nothing was applied: it is still answered"
    assert len(user.lines_about("other", "other")) == 1
    user.apply()
    assert (user.names("tasks"), user.names("removed")) == (["echo"], ["other"])
    assert user.lines_about("other") == []
    assert len(user.lines_about("echo")) == 2, "the task and its deployment"


def test_a_removed_task_that_is_asked_for_says_so_and_keeps_its_history(user: User) -> None:
    user.delete()
    user.apply()
    assert user.lines_about("other", "other") == [
        "other  removed  requests for it get a 404; echo answers if it comes back"
    ]
    assert user.lines_about("task", "other") == [], "no table without a row"
    assert "first start" in user.said("history", "other")
    assert "No task named `ohter`. " in user.run("status", "ohter").refused(2)
    assert "No task named `ohter`. " in user.run("history", "ohter").refused(2)


def test_the_canary_of_a_removed_task_is_shown_and_can_be_aborted(user: User) -> None:
    user.begin_rollout(promoted=False)
    user.delete()
    user.apply()
    [line] = user.lines_about("other")
    assert line == (
        "other  removed  the canary of second gets no more requests; it goes on if the task comes back, or ends: "
        "changeover abort other"
    )
    assert user.lines_about("other", "other") == [line]
    user.said("abort", "other")
    assert user.rollout_state() == "aborted"
    assert user.lines_about("other") == []


def test_a_removed_task_that_bakes_is_shown_and_can_be_taken_back(user: User) -> None:
    user.begin_rollout(promoted=True)
    user.delete()
    user.apply()
    assert user.lines_about("other") == ["other  removed  second was promoted; its bake time ends by itself"]
    user.said("rollback", "other")
    assert user.rollout_state() == "rolled_back"
    assert user.lines_about("other") == []


def test_without_declarations_that_were_applied_every_routed_task_is_listed(user: User) -> None:
    """A store of before, or one that a later version wrote in another way."""
    user.delete()
    user.apply()
    with user.installation.store.write() as connection:
        connection.execute(text("UPDATE applied SET document = '{}'"))
    assert user.names("tasks") == ["echo", "other"]
    with user.installation.store.write() as connection:
        connection.execute(text("DELETE FROM applied"))
    assert user.names("tasks") == ["echo", "other"]


def test_what_needs_a_person_stands_below_the_table(user: User) -> None:
    user.begin_rollout(promoted=False, approvals=1)
    assert user.lines_about("other")[1:] == ["other  needs 1 approval before the canary · changeover approve other"]
    user.said("pause", "other", "--reason", "quarter end")
    said = user.lines_about("other")[1]
    assert said.endswith(": quarter end · changeover resume other")
    assert said.startswith("other  paused by ")


def test_a_candidate_that_was_promoted_is_said_to_bake(user: User) -> None:
    user.begin_rollout(promoted=True)
    assert "second was promoted and bakes until " in user.lines_about("other")[1]
    assert "was promoted. `changeover rollback other` takes it back." in user.run("abort", "other").refused(1)


def test_a_task_whose_engine_was_stopped_says_so_until_it_is_deployed_again(user: User) -> None:
    deploy_echo(user.installation, "second", "other")
    user.said("deploy", "second", "--instead-of", "echo")
    assert user.lines_about("other")[1:] == ["other  nobody answers: echo was stopped · changeover deploy echo"]
    user.said("deploy", "echo")
    assert len(user.lines_about("other")) == 1


def test_history_says_of_each_rollout_what_it_was_and_fits_into_a_terminal(user: User) -> None:
    user.begin_rollout(promoted=True)
    user.said("rollback", "other", "--reason", "the answers were too short " * 6)
    rows = revisions(user.installation, "other", 50)
    lines = [line.plain for line in history_lines(user.installation, rows, 80)]
    assert lines[:2] == ["rollout 1  echo → second  tier low", "           not measured"]
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("the answers were too short") == 6, "nothing is cut off"
    assert lines[-1].endswith("first start; declared in other.toml") or lines[-1].endswith("echo answers")


def test_what_follows_a_rollout_fits_into_a_terminal(user: User) -> None:
    user.begin_rollout(promoted=True)
    with user.installation.store.read() as connection:
        rollout = latest_rollout(connection, "other")
        assert rollout is not None
        events = rollout_history(connection, rollout.id)
    long = replace(events[-1], reason="the desk agreed after a week of both kinds of answers " * 3)
    said = [*header_lines(user.installation, rollout, 80), event_line(long, rollout, 80)]
    lines = [line for text in said for line in text.plain.splitlines()]
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()).count("the desk") == 3, "nothing is cut off"

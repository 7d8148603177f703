"""A rollout that nobody sits before, and the people who steer it: real commands on one running system."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest
from tests.support.processes import PATIENCE_S, Up, load, system, until
from tests.support.projects import write_project

from changeover.rollouts.queries import events_of_task, open_overrides

SURE = ("paused", "undecided", "worse", "approved", "broken", "keyed", "expired")
SLOW = "[[steps]]\ncanary = 0.2\nrequests = 100000\nhold_s = 0\n"
TASKS: dict[str, str] = {
    "undecided": "margin = 0.05",
    "approved": 'margin = 0.3\n[approval]\nrequired = 1\nby = ["ana", "bo"]',
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    directory = write_project(tmp_path_factory.mktemp("steering") / "p", tasks=SURE, steps=SLOW)
    for task in SURE:
        file = directory / "tasks" / f"{task}.toml"
        gate = TASKS.get(task, "margin = 0.3")
        text = file.read_text().replace("max_samples = 60\n", "")
        file.write_text(text.replace("[gate]\nmargin = 0.05", f"[gate]\nmax_samples = 60\n{gate}"))
    with system(directory) as it:
        it.call("deploy", "twin", "--engine", "echo")
        it.call("deploy", "no", "--engine", "echo", "--option", 'reply="no"')
        yield it


def state(up: Up, task: str) -> dict[str, Any]:
    return up.call("status", task, "--json").json["tasks"][0]["rollout"]


def actions(up: Up, task: str) -> list[str]:
    """Oldest first."""
    return [row["action"] for row in up.call("history", task, "--json").json][::-1]


def evaluated(up: Up, task: str) -> bool:
    with up.rows() as connection:
        return any(event.action == "evaluate" for event in events_of_task(connection, task))


def overridden(up: Up) -> bool:
    with up.rows() as connection:
        return bool(open_overrides(connection))


def test_a_detached_switch_is_measured_by_the_running_system_and_waits_where_it_is_paused(up: Up) -> None:
    begun = up.call("switch", "paused", "--to", "twin", "--detach")
    assert (begun.status, "began with its evaluation" in begun.out) == (0, True)
    until(lambda: up.state("paused") == "canary")
    waits = up.call("pause", "paused", "--reason", "quarter end")
    assert (waits.status, "canary  waits" in waits.out) == (0, True)
    assert "is paused already: quarter end" in up.call("pause", "paused").refused(1)
    shown = up.call("status", "paused")
    assert "twin canary 20 %" in shown.out
    assert "quarter end" in shown.out
    assert up.call("resume", "paused").status == 0
    assert "goes on by itself" in up.call("resume", "paused").refused(1)
    assert up.call("abort", "paused").status == 0
    assert actions(up, "paused") == ["start", "start", "evaluate", "canary", "pause", "resume", "abort"]


def test_an_evaluation_that_decides_nothing_holds_until_somebody_answers_for_it(up: Up) -> None:
    assert up.call("switch", "undecided", "--to", "twin", "--detach").status == 0
    until(lambda: up.held("undecided"))
    held = state(up, "undecided")
    assert (held["state"], held["hold"]["kind"], held["hold"]["actor"]) == ("evaluation", "held", "changeover")
    assert "inconclusive" in held["hold"]["reason"]
    assert "has an evaluation that is `inconclusive`" in up.call("promote", "undecided").refused(1)

    asked = ("override", "undecided", "--gate", "evaluation", "--approver", "ana", "--reason", "withdrawn by its maker")
    assert "neither a time" in up.call(*asked, "--expires", "soon").refused(2)
    assert "must end later than now" in up.call(*asked, "--expires", "2020-01-01").refused(1)
    assert up.call(*asked, "--expires", "7d").status == 0
    until(lambda: up.state("undecided") == "canary")
    shown = up.call("status", "undecided").out
    assert "evaluation overridden" in shown
    assert "ana" in shown
    assert up.call("abort", "undecided").status == 0
    until(lambda: not overridden(up))
    assert up.call("status", "undecided", "--json").json["tasks"][0]["overrides"] == []
    assert actions(up, "undecided")[-1] == "override ended"

    # What was measured stays undecided. A switch says how it can go on, and that way is open.
    again = up.call("switch", "undecided", "--to", "twin")
    assert again.status == 3
    assert "--detach`, then `changeover override undecided --gate evaluation`" in " ".join(again.err.split())
    assert up.call("switch", "undecided", "--to", "twin", "--detach").status == 0
    until(lambda: up.held("undecided"))
    assert up.call("abort", "undecided").status == 0


def test_a_candidate_that_is_worse_is_refused_before_any_request(up: Up) -> None:
    assert up.call("switch", "worse", "--to", "no", "--detach").status == 0
    until(lambda: up.state("worse") == "refused")
    assert "abort" not in actions(up, "worse")
    assert [row["revision"] for row in up.call("history", "worse", "--json").json if row["revision"]] != []
    assert up.call("switch", "worse", "--to", "no").status == 1, "the verdict is known now"


def test_who_started_a_rollout_cannot_approve_it(up: Up) -> None:
    assert up.call("switch", "approved", "--to", "twin", "--detach").status == 0
    until(lambda: evaluated(up, "approved"))
    time.sleep(0.6)
    assert state(up, "approved")["state"] == "evaluation", "it waits for an approval"
    assert "somebody else has to approve" in up.call("approve", "approved").refused(1)
    assert "needs 1 approval of ana, bo" in up.call("promote", "approved").refused(1)
    stranger = up.call("approve", "approved", user="eve")
    assert "`eve` is not among those who may approve" in stranger.refused(1)
    assert up.call("approve", "approved", "--reason", "seen", user="ana").status == 0
    until(lambda: up.state("approved") == "canary")


def test_a_switch_that_cannot_be_evaluated_begins_nothing(up: Up) -> None:
    dataset = up.project / "evals" / "gone.jsonl"
    dataset.write_text((up.project / "evals" / "echo.jsonl").read_text())
    file = up.project / "tasks" / "broken.toml"
    file.write_text(file.read_text().replace("echo.jsonl", "gone.jsonl"))
    dataset.write_text('{"id": "s1"}\n')
    assert "gone.jsonl:1: `input`: missing" in up.call("switch", "broken", "--to", "twin", "--detach").refused(2)
    assert state(up, "broken") is None


def test_an_override_that_is_over_puts_its_rollout_on_hold(up: Up) -> None:
    assert up.call("switch", "expired", "--to", "twin", "--detach").status == 0
    until(lambda: up.state("expired") == "canary")
    asked = ("override", "expired", "--gate", "approval", "--approver", "bo", "--reason", "nobody is there")
    assert up.call(*asked, "--expires", "0.01m").status == 0
    until(lambda: up.held("expired"))
    assert "its time is over" in state(up, "expired")["hold"]["reason"]
    assert state(up, "expired")["state"] == "canary", "callers on the candidate's side stay there"


def test_a_key_at_the_terminal_ends_a_rollout_that_is_followed(up: Up) -> None:
    ours, theirs = pty.openpty()
    command = (sys.executable, "-m", "changeover", "switch", "keyed", "--to", "twin")
    following = subprocess.Popen(command, cwd=up.project, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        with load(up, "keyed") as seen:
            until(lambda: up.state("keyed") == "canary")
            shown = _read(ours, until=b"[a]bort")  # what is typed before it reads keys is lost
            os.write(ours, b"x")
            os.write(ours, b"a")
            said = shown + _read(ours)
            assert following.wait(PATIENCE_S) == 1
        assert b"abort by hand while it was followed" in said
        assert seen.failed == []
    finally:
        following.kill()
        following.wait()
        os.close(ours)


def _read(terminal: int, until: bytes | None = None) -> bytes:
    """What is written to a terminal, up to some words or until the other side is gone."""
    said = b""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and (until is None or until not in said):
        try:
            said += os.read(terminal, 65536)
        except OSError:  # the other side is gone
            break
    return said

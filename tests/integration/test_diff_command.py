"""`changeover diff` on a real project: every way to name a bundle, and what is said of two."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.projects import deploy_echo, open_written, write_project

from changeover.app.installation import Installation
from changeover.cli.main import run_command
from changeover.rollouts.actions import By, plan_of, promote, propose


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    opened = open_written(write_project(tmp_path / "p"))
    monkeypatch.chdir(opened.project.root)
    return opened


def by(installation: Installation) -> By:
    return By(actor="ana", reason="test", now=installation.clock.now())


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    status = run_command(["diff", *argv, "--json"])
    shown = capsys.readouterr()
    return status, json.loads(shown.out) if shown.out else shown.err


def test_a_bundle_is_the_same_as_itself_whatever_it_is_called(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = said(capsys, "echo@incumbent", "echo@incumbent")
    digest = told["a"]["bundle"]
    for name in ("echo", digest, digest[:12], "echo@declared", "echo@1"):
        status, told = said(capsys, "echo@incumbent", name)
        assert (status, told["same"], told["differences"]) == (0, True, []), name
    assert run_command(["diff", "echo", "echo"]) == 0
    assert "the same bundle" in capsys.readouterr().out


def test_an_edited_prompt_and_another_parameter_are_said_in_words(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = installation.project.tasks
    (tasks / "echo.prompt.md").write_text("Say it once more.\nAnd be brief.\n")
    file = tasks / "echo.toml"
    file.write_text(file.read_text().replace("temperature = 0.0", "temperature = 0.7"))
    status, told = said(capsys, "echo@incumbent", "echo@declared")
    assert status == 1
    assert told["differences"] == [
        {"name": "prompt", "old": "", "new": "changed (2 lines)"},
        {"name": "temperature", "old": "0", "new": "0.7"},
    ]
    assert "-Say it again." in told["prompt"]
    assert run_command(["diff", "echo@incumbent", "echo@declared"]) == 1
    shown = capsys.readouterr().out
    assert "+And be brief." in shown
    assert "temperature  0" in shown


def test_candidate_and_former_are_named_by_their_place(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    other = deploy_echo(installation, "other", chunks=3)
    assert said(capsys, "echo@incumbent", "echo@former")[0] == 2
    plan = plan_of(installation.tasks["echo"].declared)
    with installation.store.write() as connection:
        rollout = propose(connection, other, plan, by(installation))
    status, told = said(capsys, "echo@incumbent", "echo@candidate")
    assert (status, told["b"]["deployment"]) == (1, "other")
    assert {"name": "model", "old": "echo", "new": "other"} in told["differences"]
    assert said(capsys, "other", "echo@candidate")[0] == 0, "a deployment is taken with the other's task"
    with installation.store.write() as connection:
        promote(connection, rollout, None, by(installation))
    assert said(capsys, "echo@former", "echo", "--task", "echo")[0] == 0


def test_what_has_no_such_name_is_no_difference(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in {
        "ecko": "Did you mean `echo`",
        "ecko@incumbent": "no task `ecko`",
        "echo@next": "no place `next`",
        "echo@77": "no revision 77",
        "echo@candidate": "no candidate now",
    }.items():
        status, told = said(capsys, "echo", name)
        assert status == 2, name
        assert words in told.replace("\n", " ")

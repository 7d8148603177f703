"""`changeover licences` on a real store: the position, what answers and may not, texts, and the bill of materials."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import Ended
from tests.support.projects import open_written, write_project

from changeover.app.deploy import deploy
from changeover.app.installation import Installation
from changeover.cli.main import run_command
from changeover.library.licences.queries import note_text
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import find_deployment, keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.declarations import Task
from changeover.tasks.queries import append_route, current_routes

CARDS = """
[[cards]]
id = "stern-1"
display_name = "Stern 1"
family = "stern"
vendor = "Stern"
weights = "open"
licence = { id = "tencent-hunyuan-image-3.0", text_sha256 = "aaaaaaaaaaaaaaaa" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }]
"""
POLICY = """
operates_in = ["SG"]
monthly_users = 2_000_000
[tasks.echo]
uses = ["credit-decisions"]
"""


class User:
    """Somebody in the directory of a project with the tasks `echo` and `other`, and a card of its own."""

    def __init__(self, installation: Installation, said: pytest.CaptureFixture[str]) -> None:
        self.installation = installation
        self._said = said

    def run(self, *arguments: str) -> Ended:
        self._said.readouterr()
        return Ended(run_command(["licences", *arguments]), *self._said.readouterr())

    def json(self, *arguments: str, status: int = 0) -> Any:
        ended = self.run(*arguments, "--json")
        assert ended.status == status, ended
        return ended.json

    def model(self, id: str, *arguments: str, status: int = 0) -> Any:
        return next(each for each in self.json(*arguments, status=status)["models"] if each["model"] == id)

    def have_answer(self, model: str, task: str) -> None:
        """Let a model that others run answer a task, as if it had been deployed before there was a policy."""
        plan = EnginePlan(deployment=model, backend="openai", model=model, options={"base_url": "http://127.0.0.1:9"})
        deploy(replace(self.installation, policy=None), plan, "test")
        with self.installation.store.write() as connection:
            engine = EnginePart.from_document(find_deployment(connection, model).engine)
            declared: Task = self.installation.tasks[task]
            variant = keep_variant(connection, Variant.declared(declared, model, engine), self.installation.clock.now())
            route = current_routes(connection)[task]
            append_route(connection, replace(route, incumbent=variant.id, action="promote"))


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator[User]:
    directory = write_project(tmp_path / "p", ("echo", "other"))
    (directory / "library").mkdir()
    (directory / "library" / "stern.toml").write_text(CARDS)
    (directory / "policy.toml").write_text(POLICY)
    installation = open_written(directory)
    monkeypatch.chdir(directory)
    yield User(installation, capsys)
    installation.store.close()


def test_every_model_stands_in_the_position_with_its_outcome(user: User) -> None:
    ended = user.run()
    assert ended.status == 0
    assert ended.out.startswith("policy: operates in SG · 2,000,000 monthly users · echo: credit-decisions")
    assert "nothing answers that may not" in ended.out
    assert "no legal advice" in ended.out
    assert user.model("stern-1")["judgement"]["outcome"] == "duties"
    assert user.model("stern-1")["tasks"]["echo"]["outcome"] == "deny"
    assert user.model("stern-1", "--task", "echo")["judgement"]["why"] == "clause Exhibit A, 14: high-stakes decisions"


def test_what_answers_and_may_is_shown_with_its_task(user: User) -> None:
    user.have_answer("stern-1", "other")
    assert user.model("stern-1")["answers"] == ["other"]
    assert user.json()["models"][0]["model"] == "stern-1", "what answers now stands first"


def test_what_answers_and_may_not_fails_the_command_and_is_named(user: User) -> None:
    user.have_answer("stern-1", "echo")
    ended = user.run()
    assert ended.status == 1
    assert "stern-1 answers echo now and may not: clause Exhibit A, 14" in ended.err
    assert user.model("stern-1", status=1)["refused"] == ["echo"]
    assert user.run("stern-1").status == 1
    assert user.run("smollm2-135m-instruct").status == 0


def test_a_model_without_a_card_is_in_the_position_too(user: User) -> None:
    user.have_answer("nobody-knows-it", "other")
    row = user.model("nobody-knows-it", status=1)
    assert (row["licence"], row["refused"]) == (None, ["other"])
    assert "has no card" in user.run("nobody-knows-it").out


def test_a_model_is_shown_with_every_clause_and_its_words(user: User) -> None:
    out = " ".join(user.run("stern-1").out.split())
    assert "for echo not allowed" in out
    assert "clause Exhibit A, 14 of tencent-hunyuan-image-3.0: «To make high-stakes automated decisions" in out
    assert "aboutcode-org/scancode-toolkit@" in out
    assert "No model named `stren-1`. Did you mean `stern-1`?" in user.run("stren-1").refused(2)


def test_names_in_the_policy_that_nothing_has_are_said(user: User) -> None:
    granted = '[[granted]]\nlicence = "gemma-term"\nby = "ana"\non = 2026-01-01\nreason = "letter"\n'
    (user.installation.project.root / "policy.toml").write_text(f"{POLICY}[tasks.ohter]\n{granted}")
    err = user.run().err
    assert "`tasks.ohter`: no task `ohter`. Did you mean `other`?" in err
    assert "`granted`: no licence `gemma-term`. Did you mean `gemma-terms`?" in err


def test_without_a_policy_the_position_says_so_and_refuses_nothing(user: User) -> None:
    (user.installation.project.root / "policy.toml").unlink()
    user.have_answer("stern-1", "echo")
    ended = user.run()
    assert ended.status == 0
    assert ended.out.startswith("no policy.toml")


def test_a_changed_text_is_listed_and_accepted_by_name(user: User) -> None:
    assert "No text was seen yet" in user.run("texts").out
    with user.installation.store.write() as connection:
        note_text(connection, "stern-1", "b" * 64, "stern/stern-1@main", user.installation.clock.now())
    assert [text["review"] for text in user.json("texts")] == [True]
    assert "licence of stern-1 has another text at stern/stern-1@main" in user.run().err
    assert user.model("stern-1")["review"]["sha256"] == "b" * 64
    assert "Accepted by" in user.run("accept", "stern-1", "--reason", "read by legal").out
    [text] = user.json("texts", "stern-1")
    assert (text["review"], text["reason"]) == (False, "read by legal")
    assert user.model("stern-1")["review"] is None
    assert "No text of the licence of `gemma` was seen" in user.run("accept", "gemma", "--reason", "x").refused(2)


def test_the_bill_holds_what_is_deployed_or_the_model_or_all(user: User, tmp_path: Path) -> None:
    user.have_answer("stern-1", "other")
    file = tmp_path / "bom.json"

    def written(*arguments: str) -> list[str]:
        assert user.run("--bom", str(file), *arguments).status == 0
        return [each["bom-ref"] for each in json.loads(file.read_text())["components"]]

    assert written() == ["stern-1"]
    assert written("smollm2-135m-instruct") == ["smollm2-135m-instruct"]
    assert len(written("--all")) == len(user.installation.catalogue.cards())


def test_a_bill_without_its_extra_names_it(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a machine where the library is not installed.
    for name in [*sys.modules]:
        if name.partition(".")[0] == "cyclonedx" or name == "changeover.library.licences.bom":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    file = tmp_path / "bom.json"
    assert 'pip install "changeover[bom]"' in user.run("--bom", str(file), "--all").refused(2)
    assert not file.exists()


def test_a_task_that_nobody_knows_is_refused_and_not_taken_for_a_harmless_one(user: User) -> None:
    assert "No task named `ecko`" in user.run("stern-1", "--task", "ecko").refused(2)
    assert user.run("stern-1", "--task", "echo").status == 0

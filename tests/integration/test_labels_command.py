"""`changeover labels`: a blind sheet goes out, people fill it in, their labels correct and check the judge."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.pages import ROOT, blocks_of
from tests.support.projects import deploy_echo, open_written, write_project
from tests.support.shell import commands

from changeover.app.installation import Installation
from changeover.cli.guard import run_guarded
from changeover.core.digest import sha256_text
from changeover.evals.datasets import Dataset
from changeover.evals.datasets.queries import keep_version
from changeover.evals.judges.labels import PairLabel, ScoreLabel, read_labels
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    StoredAnswer,
    add_answers,
    add_compared_samples,
    add_comparison,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEVELS = '["bad", "fair", "good"]'
IDENTICAL = 10
"""Samples, of sixty, that both answered alike."""


@dataclass(frozen=True)
class Desk:
    """A project with one finished comparison, and a person in front of it."""

    directory: Path
    capsys: pytest.CaptureFixture[str]

    def call(self, *argv: str) -> tuple[int, str, str]:
        status = run_guarded("labels", "changeover.cli.labels", argv)
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def export(self, *argv: str) -> list[dict[str, str]]:
        status, _, err = self.call("export", "cmp-1", "--to", "sheet.csv", *argv)
        assert status == 0, err
        with Path("sheet.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def fill(self, rows: list[dict[str, str]], judge: Callable[[dict[str, str]], dict[str, str]]) -> None:
        with Path("sheet.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({**row, **judge(row)} for row in rows)

    @property
    def labels(self) -> Path:
        return self.directory / "evals" / "labels.jsonl"


Make = Callable[[str], Desk]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    def make(scorer: str) -> Desk:
        directory = write_project(tmp_path / "p")
        file = directory / "tasks" / "echo.toml"
        file.write_text(file.read_text().replace('[scorer]\nname = "contains"\n', f"[scorer]\n{scorer}\n"))
        installation = open_written(directory)
        _compare(installation)
        installation.store.close()
        monkeypatch.chdir(directory)
        return Desk(directory, capsys)

    return make


def _compare(installation: Installation) -> None:
    """A comparison of all samples, as a runner would have kept it."""
    old, new = (deploy_echo(installation, name) for name in ("old", "new"))
    dataset = Dataset.load(installation.tasks["echo"].dataset)
    with installation.store.write() as connection:
        keep_version(connection, dataset, NOW)
        add_comparison(connection, _comparison(old.id, new.id, dataset.digest))
        for position, sample in enumerate(dataset.samples, start=1):
            texts = (f"old says {sample.id}", "=1+1" if position == 60 else f"new says {sample.id}")
            if position <= IDENTICAL:
                texts = ("the same", "the same")
            said = [_answer(bundle, sample.id, text) for bundle, text in zip(("o" * 64, "n" * 64), texts, strict=True)]
            one, other = add_answers(connection, said, NOW)
            row = ComparedSample(
                comparison="cmp-1",
                position=position,
                sample=sample.digest,
                sample_id=sample.id,
                incumbent_answer=one.id,
                candidate_answer=other.id,
                incumbent_score=0.5,
                candidate_score=0.5,
                evidence={},
            )
            add_compared_samples(connection, [row])


def _comparison(incumbent: str, candidate: str, dataset: str) -> Comparison:
    return Comparison(
        id="cmp-1",
        task="echo",
        incumbent=incumbent,
        candidate=candidate,
        dataset=dataset,
        scorer="s" * 64,
        plan={},
        actor="test",
        verdict="inconclusive",
        summary={},
        started_at=NOW,
        ended_at=NOW,
    )


def _answer(bundle: str, sample: str, text: str) -> StoredAnswer:
    return StoredAnswer(
        id=0,
        bundle=bundle,
        sample=sha256_text(sample),
        repeat=0,
        text=text,
        error=None,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        duration_ms=1.0,
    )


PAIRWISE = 'name = "pairwise"\noptions = { judge = "judge", labels = "../evals/labels.jsonl" }'
RUBRIC = f'name = "rubric"\noptions = {{ judge = "judge", levels = {LEVELS}, labels = "../evals/labels.jsonl" }}'


def prefer_new(row: dict[str, str]) -> dict[str, str]:
    return {"preferred": "a" if "old" not in row["answer_a"] else "b"}


def test_a_sheet_goes_out_and_comes_back_as_labels(desk: Make) -> None:
    it = desk(PAIRWISE)
    rows = it.export("--n", "20")
    assert len(rows) == 20
    assert all(row["input"].startswith("sample ") for row in rows)
    assert "the same" not in {row["answer_a"] for row in rows}
    it.fill(rows, lambda row: prefer_new(row) if row is not rows[0] else {})
    status, out, err = it.call("import", "sheet.csv", "--task", "echo", "--by", "kim")
    assert status == 0, err
    assert "19 labels added" in out
    assert "1 rows are empty" in err
    labels = read_labels(it.labels)
    new = {sha256_text(f"new says {row['sample']}") for row in rows} | {sha256_text("=1+1")}
    for label in labels:
        assert isinstance(label, PairLabel)
        assert (label.a if label.preferred == "a" else label.b) in new
    again = it.call("import", "sheet.csv", "--task", "echo", "--by", "kim", "--json")
    assert json.loads(again[1]) == {"labels": str(it.labels), "added": 0, "known": 19, "empty": 1}


def test_the_commands_of_the_page_on_judges(desk: Make) -> None:
    it = desk(PAIRWISE)
    page = ROOT / "docs" / "concepts" / "judges.md"
    [block] = [block for block in blocks_of(page) if "labels export" in block.text]
    out, back = (shlex.split(line)[2:] for line in commands(block.text))
    assert it.call("export", *("cmp-1" if word == "cmp-01k2" else word for word in out[1:]))[0] == 0
    with Path("sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        it.fill(list(csv.DictReader(file)), prefer_new)
    assert it.call("import", *("echo" if word == "summarise" else word for word in back[1:]))[0] == 0
    assert len(read_labels(it.labels)) == 30


def test_the_sheet_names_nobody(desk: Make) -> None:
    it = desk(PAIRWISE)
    rows = it.export("--n", "60")
    assert len(rows) == 60 - IDENTICAL
    assert set(rows[0]) == {"sample", "input", "answer_a", "answer_b", "preferred", "a", "b"}
    assert 10 < sum(row["answer_a"].startswith("old") for row in rows) < 40
    assert {"'=1+1"} <= {row["answer_a"] for row in rows} | {row["answer_b"] for row in rows}


def test_what_has_a_label_is_not_asked_for_again(desk: Make) -> None:
    it = desk(PAIRWISE)
    first = it.export("--n", "20")
    it.fill(first, prefer_new)
    assert it.call("import", "sheet.csv", "--task", "echo")[0] == 0
    second = it.export("--n", "60")
    assert len(second) == 60 - IDENTICAL - 20
    assert not {row["sample"] for row in first} & {row["sample"] for row in second}


def test_a_rubric_gets_a_level_for_each_answer_alone(desk: Make) -> None:
    it = desk(RUBRIC)
    rows = it.export("--n", "5")
    assert 5 <= len(rows) <= 10
    assert set(rows[0]) == {"sample", "input", "answer", "level", "digest"}
    it.fill(rows, lambda row: {"level": "3" if "new" in row["answer"] else "2"})
    status, _, err = it.call("import", "sheet.csv", "--task", "echo", "--by", "kim")
    assert status == 0, err
    scores = {label.score for label in read_labels(it.labels) if isinstance(label, ScoreLabel)}
    assert scores == {0.5, 1.0}


def test_a_wrong_row_adds_nothing(desk: Make) -> None:
    it = desk(PAIRWISE)
    rows = it.export()
    it.fill(rows, lambda row: {"preferred": "a" if row is not rows[-1] else "the first"})
    status, _, err = it.call("import", "sheet.csv", "--task", "echo")
    assert status == 2
    assert "`preferred` is `the first`. Write a, b or tie." in " ".join(err.split())
    assert not it.labels.exists()


@pytest.mark.parametrize(
    ("scorer", "argv", "status", "says"),
    [
        (PAIRWISE, ["export", "cmp-9", "--to", "x.csv"], 1, "No comparison `cmp-9`"),
        (PAIRWISE, ["import", "none.csv", "--task", "echo"], 2, "No sheet `none.csv`"),
        (PAIRWISE, ["import", "none.csv", "--task", "ecko"], 2, "Did you mean `echo`?"),
        ('name = "contains"', ["import", "x.csv", "--task", "echo"], 2, "no scorer `pairwise` or `rubric`"),
        ('name = "pairwise"', ["import", "x.csv", "--task", "echo"], 2, 'Add `labels = "../evals/echo/labels.jsonl"`'),
    ],
)
def test_what_cannot_be_done_is_said(desk: Make, scorer: str, argv: list[str], status: int, says: str) -> None:
    ended, _, err = desk(scorer).call(*argv)
    assert ended == status
    assert says in re.sub(r"\s+", " ", err)


def test_a_comparison_without_a_judge_can_be_judged_by_people(desk: Make) -> None:
    """To see how far the scorer that decides is right."""
    assert len(desk('name = "contains"').export("--n", "10")) == 10


def test_each_command_has_a_help_with_an_example(desk: Make) -> None:
    it = desk(PAIRWISE)
    for command in ("export", "import"):
        status, out, _ = it.call(command, "--help")
        text: Any = " ".join(out.split())
        assert status == 0
        assert "--json" in text
        assert f"Example: changeover labels {command}" in text

"""The cases, prompts and examples that a new project begins with."""

from __future__ import annotations

import csv
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from changeover.evals.datasets import Dataset
from changeover.evals.datasets.check import About, check
from changeover.evals.datasets.importers import Choice, import_sources, samples_of
from changeover.evals.scorers import ScorerSpec
from changeover.tasks.declarations import Task, load_tasks

PROJECT = Path(str(files("changeover.templates") / "project"))
TASKS = load_tasks(PROJECT / "tasks")
CASES = PROJECT / "examples" / "support-cases"


def cases(task: Task) -> Dataset:
    return Dataset.load(task.dataset, template=task.input_template)


def scorer(task: Task) -> ScorerSpec:
    declared = task.declared.scorer
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_shipped_case_can_be_scored_and_none_leaks_or_repeats(task: Task) -> None:
    about = About(prompt=task.prompt, read_target=scorer(task).read_target, scorer=task.declared.scorer.name)
    found = check(cases(task), about)
    assert [finding.message for finding in found if finding.severity != "note"] == []


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_shipped_case_says_where_it_comes_from_and_is_explained(task: Task) -> None:
    described = (PROJECT / "evals" / "README.md").read_text(encoding="utf-8")
    samples = cases(task).samples
    assert {sample.source for sample in samples} == {"written for this project, CC0-1.0"}
    assert f"## `{task.name}` — {len(samples)} cases" in described
    assert {tag for sample in samples for tag in sample.tags if f"`{tag}`" not in described} == set()


def test_prompt_schema_scorer_and_cases_of_customer_intent_name_the_same_labels() -> None:
    task = TASKS["customer-intent"]
    schema = task.declared.parameters["response_format"]["json_schema"]["schema"]
    labels = task.declared.scorer.options["labels"]
    defined = [line.partition(":")[0] for line in task.prompt.splitlines() if line.partition(":")[0] in labels]
    assert schema["properties"]["label"]["enum"] == labels
    assert defined == labels
    assert {sample.target for sample in cases(task).samples} == set(labels)


def test_the_labels_of_customer_intent_are_balanced_and_stand_in_many_languages() -> None:
    samples = cases(TASKS["customer-intent"]).samples
    counted = Counter(sample.target for sample in samples if isinstance(sample.target, str))
    languages = {(sample.target, sample.tags[0]) for sample in samples if isinstance(sample.target, str)}
    assert min(counted.values()) >= 12
    assert max(counted.values()) <= 25
    assert all(sample.tags[0].startswith("lang:") for sample in samples)
    assert min(Counter(label for label, _ in languages).values()) >= 3


def test_the_examples_in_the_prompt_of_customer_intent_are_none_of_its_cases() -> None:
    task = TASKS["customer-intent"]
    shown = [line.partition(" → ") for line in task.prompt.splitlines() if " → " in line]
    asked = {sample.text for sample in cases(task).samples}
    assert Counter(json.loads(answer)["label"] for _, _, answer in shown) == Counter(
        task.declared.scorer.options["labels"]
    )
    assert asked.isdisjoint(message for message, _, _ in shown)


def test_the_example_folder_of_support_cases_is_taken_whole_without_a_word_said() -> None:
    samples = samples_of(import_sources([CASES], Choice()))
    assert len(samples) >= 60
    assert {sample.target for sample in samples} == {"billing", "outage", "contract", "meter"}
    assert any("\n" in sample.text for sample in samples)
    assert any("ß" in sample.text for sample in samples)
    assert any('"final reminder"' in sample.text for sample in samples)


def test_the_support_cases_are_as_messy_as_their_readme_says() -> None:
    saved = {file.name: file.read_bytes() for file in CASES.glob("*.csv")}
    rows = list(csv.DictReader(saved["phone-notes.csv"].decode().splitlines(keepends=True)))
    assert saved["2026-02.csv"].startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in saved["2026-02.csv"]
    assert saved["2026-03.csv"].startswith(b"id;message;answer;language;remark")
    assert {bool(row["remark"]) for row in rows} == {True, False}
    assert all(f"`{name}`" in (CASES / "README.md").read_text(encoding="utf-8") for name in saved)

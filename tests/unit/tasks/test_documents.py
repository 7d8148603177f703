"""Tasks as they are stored when they are applied."""

import json
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from changeover.core.errors import ConfigError, UnknownTaskError
from changeover.tasks.applied import document_of, tasks_of
from changeover.tasks.declarations import TaskDeclaration, find_task, load_tasks

PROJECT = Path(str(files("changeover.templates") / "project"))


def test_an_applied_task_is_the_declared_one_wherever_the_project_lies(tmp_path: Path) -> None:
    declared = load_tasks(PROJECT / "tasks")
    assert len(declared) > 1
    document = json.loads(json.dumps(document_of(declared, PROJECT)))
    assert str(PROJECT) not in json.dumps(document)
    elsewhere = tasks_of(document, tmp_path)
    for name, task in declared.items():
        found = elsewhere[name]
        assert found == replace(task, file=found.file, dataset=found.dataset)
        assert found.file == tmp_path / "tasks" / f"{name}.toml"
        assert os.path.normpath(found.dataset) == str(tmp_path / task.dataset.relative_to(PROJECT))
    assert document_of(elsewhere, tmp_path) == document


def test_only_what_was_declared_is_stored_so_that_a_default_may_become_another() -> None:
    task = next(iter(load_tasks(PROJECT / "tasks").values()))
    assert set(task.document(PROJECT)["declared"]) <= {*TaskDeclaration.model_fields} - {"retention_days"}


def test_what_another_version_applied_is_refused_with_its_task() -> None:
    document = document_of(load_tasks(PROJECT / "tasks"), PROJECT)
    name = next(iter(document["tasks"]))
    document["tasks"][name]["declared"]["of_tomorrow"] = 1
    with pytest.raises(ConfigError, match=f"`{name}` as it was applied: `of_tomorrow`: unknown key"):
        tasks_of(document, PROJECT)
    del document["tasks"][name]["prompt"]
    with pytest.raises(ConfigError, match=name):
        tasks_of({"tasks": {name: {"file": "x.toml"}}}, PROJECT)
    with pytest.raises(ConfigError, match="another version"):
        tasks_of({}, PROJECT)


def test_a_broken_task_stops_no_other_and_asking_for_it_says_what_is_wrong(tmp_path: Path) -> None:
    for name in ("good", "broken"):
        (tmp_path / f"{name}.md").write_text("")
        (tmp_path / f"{name}.toml").write_text(
            f'description = ""\nprompt = "{name}.md"\ndataset = "d"\nfirst_incumbent = "echo"\n[scorer]\nname = "exact"\n'
        )
    (tmp_path / "broken.toml").write_text("retention_days = 1")
    tasks = load_tasks(tmp_path)
    assert list(tasks) == ["good"]
    assert list(tasks.problems) == ["broken"]
    assert find_task(tasks, "good").name == "good"
    with pytest.raises(ConfigError, match="missing"):
        find_task(tasks, "broken")
    with pytest.raises(UnknownTaskError, match="Known: good"):
        find_task(tasks, "other")


def test_a_number_without_a_json_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("")
    file = tmp_path / "odd.toml"
    file.write_text(
        'description = ""\nprompt = "p.md"\ndataset = "d"\nfirst_incumbent = "echo"\n'
        'parameters = {top_p = nan}\n[scorer]\nname = "exact"\n'
    )
    with pytest.raises(ConfigError, match=r"odd\.toml: a number is not finite"):
        document_of(load_tasks(tmp_path), tmp_path)

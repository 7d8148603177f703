"""A sample that was scored is never edited in place, and a run can be made again when its file is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.support import stores

from changeover.core.errors import DatasetError
from changeover.evals.datasets import Dataset
from changeover.evals.datasets.diff import diff
from changeover.evals.datasets.queries import (
    check_not_edited,
    edited_in_place,
    find_version,
    keep_version,
    newest_version,
)
from changeover.store.engine import Store
from changeover.store.schema import samples

NOW = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    store = stores.made(store_url)
    yield store
    store.close()


def _write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _line(id: str, **changes: Any) -> dict[str, Any]:
    return {"id": id, "input": f"question {id}", "target": f"answer {id}", **changes}


def _keep(store: Store, dataset: Dataset, now: datetime = NOW) -> None:
    with store.write() as connection:
        keep_version(connection, dataset, now)


def _edited(store: Store, dataset: Dataset) -> list[str]:
    with store.read() as connection:
        return edited_in_place(connection, dataset)


def test_a_kept_version_is_found_as_it_was_when_the_file_is_gone(store: Store, tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "target": {"any": ["x"]}},
        {"role": "user", "content": "And?"},
    ]
    tool = {"type": "function", "function": {"name": "find"}}
    path = _write(
        tmp_path / "v1.jsonl",
        _line("a", tags=["t"], cluster="c", source="s", tools=[tool]),
        _line("b", input=messages),
        _line("c", input={"document": "x"}),
    )
    path_with_variables = Dataset.load_unrendered(path)
    _keep(store, path_with_variables)
    path.unlink()
    with store.read() as connection:
        found = find_version(connection, path_with_variables.digest)
        assert find_version(connection, "0" * 64) is None
    assert found == path_with_variables
    assert found is not None
    assert [sample.digest for sample in found.samples] == [sample.digest for sample in path_with_variables.samples]
    assert found.samples[2].variables == {"document": "x"}


def test_a_sample_that_was_scored_may_not_change_under_its_id(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path / "v1.jsonl", _line("a"), _line("b"), _line("c"))
    _keep(store, Dataset.load(path))
    changed = Dataset.load(_write(path, _line("c", target="x"), _line("a"), _line("b", tags=["t"]), _line("d")))
    assert _edited(store, changed) == ["c", "b"]
    with store.read() as connection, pytest.raises(DatasetError) as caught:
        check_not_edited(connection, changed)
    assert caught.value.message.startswith(f"{path}:1: sample `c`, and 1 more changed after it was scored.")
    assert "a new file such as `v2.jsonl`" in caught.value.message


def test_samples_may_be_added_left_out_and_moved(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path / "v1.jsonl", _line("a"), _line("b"))
    _keep(store, Dataset.load(path))
    assert _edited(store, Dataset.load(_write(path, _line("new"), _line("b")))) == []


def test_the_same_id_in_another_file_is_another_sample(store: Store, tmp_path: Path) -> None:
    _keep(store, Dataset.load(_write(tmp_path / "v1.jsonl", _line("a"))))
    assert _edited(store, Dataset.load(_write(tmp_path / "v2.jsonl", _line("a", target="x")))) == []


def test_a_sample_that_comes_back_as_it_was_is_not_edited(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path / "v1.jsonl", _line("a"), _line("b"))
    _keep(store, Dataset.load(path))
    _keep(store, Dataset.load(_write(path, _line("b"))))
    assert _edited(store, Dataset.load(_write(path, _line("a"), _line("b")))) == []
    assert _edited(store, Dataset.load(_write(path, _line("a", target="x"), _line("b")))) == ["a"]


def test_a_changed_template_edits_no_sample_and_is_a_version_of_its_own(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path / "v1.jsonl", _line("a", input={"document": "x"}), _line("b", input={"document": "y"}))
    first, second = (Dataset.load(path, template=text) for text in ("Sum up {{ document }}", "Read {{ document }}"))
    _keep(store, first)
    assert _edited(store, second) == []
    _keep(store, second, NOW + timedelta(hours=1))
    _write(path, _line("a", input={"document": "x"}), _line("b", input={"document": "z"}))
    assert _edited(store, Dataset.load(path, template="Read {{ document }}")) == ["b"]


def test_versions_share_the_samples_that_they_have_in_common(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path / "v1.jsonl", _line("a"), _line("b"))
    _keep(store, Dataset.load(path))
    newer = Dataset.load(_write(path, _line("a"), _line("b"), _line("c")))
    _keep(store, newer, NOW + timedelta(hours=1))
    _keep(store, newer, NOW + timedelta(hours=2))
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(samples)).scalar() == 3
        assert newest_version(connection, path) == newer
        assert newest_version(connection, tmp_path / "other.jsonl") is None


def test_keeping_many_samples_takes_no_time_that_a_person_notices(store: Store, tmp_path: Path) -> None:
    lines = [_line(str(n), input="word " * 100) for n in range(5_000)]
    dataset = Dataset.load(_write(tmp_path / "v1.jsonl", *lines))
    began = time.process_time()
    _keep(store, dataset)
    assert time.process_time() - began < 5
    assert _edited(store, dataset) == []


@pytest.mark.parametrize(
    ("name", "next_name"), [("v1.jsonl", "v2.jsonl"), ("v09.jsonl", "v10.jsonl"), ("cases.jsonl", "cases-v2.jsonl")]
)
def test_the_new_file_that_is_proposed_counts_on(store: Store, tmp_path: Path, name: str, next_name: str) -> None:
    path = _write(tmp_path / name, _line("a"))
    _keep(store, Dataset.load(path))
    changed = Dataset.load(_write(path, _line("a", target="x")))
    with store.read() as connection, pytest.raises(DatasetError, match=f"`{next_name}`"):
        check_not_edited(connection, changed)


def test_a_difference_names_every_field_that_changed(tmp_path: Path) -> None:
    old = Dataset.load(_write(tmp_path / "old.jsonl", _line("a"), _line("b"), _line("same"), _line("gone")))
    long = "x" * 200
    new = Dataset.load(
        _write(
            tmp_path / "new.jsonl",
            _line("new"),
            _line("same"),
            _line("a", target={"any": ["y"]}, tags=["t"]),
            _line("b", input=f"question {long}"),
        )
    )
    found = diff(old, new)
    assert (found.added, found.removed, found.unchanged, found.same) == (("new",), ("gone",), 1, False)
    first, second = found.changed
    assert {(one.field, one.before, one.after) for one in first.fields} == {
        ("target", "answer a", '{"any": ["y"]}'),
        ("tags", "", '["t"]'),
    }
    [of_input] = second.fields
    assert (of_input.field, of_input.before) == ("input", "question b")
    assert of_input.after.endswith("…")
    assert len(of_input.after) <= 62
    assert diff(old, old).same


def test_a_difference_names_the_variable_or_the_template_that_changed(tmp_path: Path) -> None:
    line = _line("a", input={"document": "x", "title": "t"})
    path = _write(tmp_path / "v1.jsonl", line)
    template = "{{ title }}: {{ document }}"
    old = Dataset.load(path, template=template)
    of_template = diff(old, Dataset.load(path, template="{{ document }} {{ title }}")).changed[0].fields
    assert [(one.field, one.before, one.after) for one in of_template] == [("input (by the template)", "t: x", "x t")]
    new = Dataset.load(_write(path, {**line, "input": {"document": "y", "title": "t"}}), template=template)
    of_variable = diff(old, new).changed[0].fields
    assert [(one.field, one.before, one.after) for one in of_variable] == [("input.document", "x", "y")]

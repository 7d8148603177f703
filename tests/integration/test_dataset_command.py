"""`changeover dataset` as a user meets it: real files, a real store, recorded traffic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import User
from tests.support.exchanges import exchange
from tests.support.projects import open_written, write_project

from changeover.app.shipped_tools import add_tools
from changeover.evals.datasets import UNLABELLED, Dataset
from changeover.evals.datasets.queries import keep_version
from changeover.tasks.declarations import load_task
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    project = write_project(tmp_path / "project")
    monkeypatch.chdir(project)
    return User(project, capsys, ("dataset",))


def _csv(path: Path, rows: int = 40) -> Path:
    teams = ("billing", "delivery")
    path.parent.mkdir(exist_ok=True)
    path.write_text("message,team\n" + "".join(f"Case {n} is about {n * n},{teams[n % 2]}\n" for n in range(rows)))
    return path


def test_a_folder_of_csv_cases_becomes_a_task_that_loads_and_checks(user: User) -> None:
    _csv(user.project / "cases" / "a.csv")
    status, out, err = user.call("import", "cases", "--new-task", "triage", "--first", "smollm2-135m-instruct")
    assert status == 0, err
    assert "40 samples" in out
    assert "changeover dataset check triage" in out
    assert "taken: input ← message, target ← team" in err
    task = load_task(user.project / "tasks" / "triage.toml")
    assert task.declared.scorer.options == {"labels": ["billing", "delivery"]}
    assert len(Dataset.load(task.dataset, template=task.input_template).samples) == 40
    findings = user.json("check", "triage")["findings"]
    assert [finding["severity"] for finding in findings if finding["kind"] == "power"] == ["note"]


def test_what_is_there_is_replaced_only_by_force(user: User) -> None:
    _csv(user.project / "a.csv", 3)
    arguments = ("import", "a.csv", "--to", "b.jsonl")
    assert user.call(*arguments)[0] == 0
    assert "b.jsonl` is there already" in user.call(*arguments)[2]
    assert user.call(*arguments, "--force")[0] == 0
    status, _, err = user.call("import", "a.csv", "--new-task", "echo", "--first", "echo")
    assert (status, "tasks/echo.toml` is there already" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.csv"], "Where to? Say `--to"),
        (["a.csv", "--new-task", "x"], "Say `--first MODEL`"),
        (["a.csv", "--new-task", "X Y", "--first", "echo"], "`X Y` cannot be a task's name"),
        (["a.csv", "--new-task", "x", "--first", "smollm"], "No card named `smollm`"),
        (["a.csv", "--new-task", "x", "--first", "echo", "--scorer", "exat"], "No scorer named `exat`. Did you mean"),
        (["a.csv", "--new-task", "x", "--first", "echo", "--scorer", "key-facts"], "cannot read the target of `0002`"),
        (["a.csv", "--to", "b.jsonl", "--map", "target"], "FIELD=path is expected"),
        (["a.csv", "--to", "a.csv/b.jsonl"], "Cannot write `a.csv/b.jsonl`"),
    ],
)
def test_an_import_that_cannot_be_leaves_nothing_behind(user: User, arguments: list[str], expected: str) -> None:
    _csv(user.project / "a.csv", 4)
    before = sorted(user.project.rglob("*"))
    status, out, err = user.call("import", *arguments)
    assert (status, out) == (2, "")
    assert expected in err
    assert sorted(user.project.rglob("*")) == before


def test_variables_without_a_task_say_which_template_they_need(user: User) -> None:
    _csv(user.project / "a.csv", 4)
    arguments = ("--input", "message", "--input", "team", "--target", "team", "--to", "b.jsonl")
    _, out, _ = user.call("import", "a.csv", *arguments)
    assert 'the task needs `input = "NAME.input.md"`' in out
    assert "{{ message }} {{ team }}" in out


def test_a_check_fails_only_for_errors(user: User) -> None:
    status, out, _ = user.call("check", "echo")
    assert status == 0
    assert "60 of 60 targets are `ok`" in out
    lines = [{"id": id, "input": "same", "target": id} for id in ("a", "b")]
    (user.project / "evals" / "echo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, out, _ = user.call("check", "echo")
    assert status == 1
    assert "`a`, `b` ask the same and have different targets" in out
    assert user.json("check", "evals/echo.jsonl", status=1)["findings"][0]["kind"] == "duplicate"
    assert "No task named `ecko`. Did you mean `echo`?" in user.call("check", "ecko")[2]
    assert "No dataset file" in user.call("check", "none.jsonl")[2]


def test_what_was_scored_and_then_edited_is_seen_by_check_and_diff(user: User) -> None:
    installation = open_written(user.project)
    file = user.project / "evals" / "echo.jsonl"
    with installation.store.write() as connection:
        keep_version(connection, Dataset.load(file), installation.clock.now())
    installation.store.close()
    assert user.json("diff", "echo")["unchanged"] == 60
    lines = file.read_text().splitlines()
    file.write_text(
        "\n".join([lines[0].replace('"ok"', '"no"'), *lines[2:], '{"id": "n", "input": "x", "target": "y"}'])
    )
    status, out, _ = user.call("diff", "echo")
    assert status == 0
    assert out.endswith("1 added, 1 removed, 1 changed, 58 unchanged\n")
    assert "target: ok → no" in out
    assert "1 samples changed after they were scored, the first `s0`" in user.call("check", "echo")[1]


def test_two_files_are_compared_without_a_project(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, target in (("a", "x"), ("b", "y")):
        line = {"id": "1", "input": {"document": "d"}, "target": target}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line))
    found = user.json("diff", "a.jsonl", "b.jsonl")
    assert found["changed"] == [{"id": "1", "fields": [{"field": "target", "before": "x", "after": "y"}]}]
    assert "Name two files, or a task" in user.call("diff", "a.jsonl")[2]


def test_a_task_that_nothing_was_scored_of_has_no_version_to_compare_with(user: User) -> None:
    open_written(user.project).store.close()
    status, _, err = user.call("diff", "echo")
    assert (status, "was scored yet" in err) == (1, True)


NOW = datetime.now(UTC)


def _exchange(id: str, messages: Sequence[dict[str, Any]], answer: str = "done", **changes: Any) -> Exchange:
    body = {"model": "echo", "messages": messages, **changes.pop("body", {})}
    values: dict[str, Any] = {
        "started_at": NOW - timedelta(hours=1),
        "request": json.dumps(body),
        "response": json.dumps({"role": "assistant", "content": answer}),
        **changes,
    }
    return exchange(id, **values)


def _asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _record(project: Path, *exchanges: Exchange) -> None:
    installation = open_written(project)
    with installation.store.write() as connection:
        add_exchanges(connection, exchanges)
    installation.store.close()


def test_samples_are_drawn_from_what_applications_asked_and_masked(user: User) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]
    tools = [{"type": "function", "function": {"name": "find"}}]
    talk = [*_asked("first"), {"role": "assistant", "content": "x"}, *_asked("second")]
    _record(
        user.project,
        _exchange("mail", _asked("Answer jo@mail.example please"), "Dear jo@mail.example"),
        _exchange("parts", parts, body={"tools": tools}),
        _exchange("repeat", _asked("in parts!")),
        _exchange("talk-1", _asked("first")),
        _exchange("talk-2", talk),
        _exchange("internal", _asked("internal"), internal=True),
        _exchange("failed", _asked("failed"), status=502),
        _exchange("broken", _asked("broken"), truncated=True),
        _exchange("gone", _asked("gone"), abandoned=True),
        _exchange("old", _asked("old"), started_at=NOW - timedelta(days=9)),
        _exchange("bare", _asked("bare"), request=None, response=None),
        _exchange("image", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        _exchange("odd", _asked("odd"), request="{"),
    )
    found = user.json("from-traffic", "echo", "--to", "t.jsonl")
    assert (found["requests"], found["unusable"], found["samples"]) == (7, 2, 4)
    assert (found["repeats"], found["masked"]) == (1, {"email": 1})
    samples = {sample.id: sample for sample in Dataset.load(user.project / "t.jsonl").samples}
    assert {"mail", "talk-1", "talk-2"} < set(samples)
    assert samples["mail"].text == "Answer [email-1] please"
    assert samples["mail"].target == {"recorded": "Dear [email-1]"}
    assert UNLABELLED in samples["mail"].tags
    assert samples["mail"].source is not None
    assert samples["mail"].source.startswith("traffic echo exchange mail at 20")
    assert samples["mail"].source.endswith("answered by echo")
    assert samples["talk-1"].cluster == samples["talk-2"].cluster != samples["mail"].cluster
    assert samples["mail"].cluster is None


def test_the_same_call_draws_the_same_samples_by_the_shares_of_their_kinds(user: User) -> None:
    many = [
        _exchange(
            f"e{n}", _asked(f"{n * n * 7919} " * 8), body={"metadata": {"app": "a" if n % 4 else "b", "user": f"u{n}"}}
        )
        for n in range(200)
    ]
    _record(user.project, *many)
    first = user.json("from-traffic", "echo", "--n", "40", "--to", "a.jsonl")
    assert first["samples"] == 40
    user.json("from-traffic", "echo", "--n", "40", "--to", "b.jsonl")
    assert (user.project / "a.jsonl").read_text() == (user.project / "b.jsonl").read_text()
    tags = [sample.tags for sample in Dataset.load(user.project / "a.jsonl").samples]
    assert sum("app=b" in tag for tag in tags) == pytest.approx(10, abs=2)
    assert not any(name.startswith("user=") for tag in tags for name in tag)
    assert {"short", "medium", "long"} <= {name for tag in tags for name in tag}


def test_traffic_that_cannot_be_drawn_says_what_to_do(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_written(user.project).store.close()
    status, _, err = user.call("from-traffic", "echo")
    assert (status, "no request was recorded since" in err) == (2, True)
    assert "`30m`, `24h`, `7d`, `4w` or a date" in user.call("from-traffic", "echo", "--since", "soon")[2]
    bare = write_project(tmp_path / "bare", record="metadata")
    open_written(bare).store.close()
    monkeypatch.chdir(bare)
    status, _, err = user.call("from-traffic", "echo")
    assert (status, 'Set `record = "full"`' in err) == (2, True)


def test_the_reader_is_told_that_no_right_answer_is_known(user: User) -> None:
    _record(user.project, _exchange("a", _asked("What?")))
    _, out, _ = user.call("from-traffic", "echo", "--since", "2020-01-01")
    assert "1 of 1 recorded requests" in out
    assert "no sample has a right answer yet" in out
    [file] = (user.project / "evals" / "echo").iterdir()
    assert file.name.startswith("traffic-20")


def test_the_task_of_a_tool_is_checked_by_its_whole_name(user: User) -> None:
    add_tools(user.project / "tools", ["document-summary"])
    assert user.json("check", "document-summary.summarise")["samples"] >= 30

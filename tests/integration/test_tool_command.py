"""`changeover tools`, `changeover tool`, `init --tools` and `key new --tool` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import User
from tests.support.processes import Up, until
from tests.support.projects import open_written, write_project
from tests.support.tool_projects import SHIPPED

from changeover.app.shipped_tools import derive_tool, shipped_names
from changeover.cli.frame import out as terminal
from changeover.cli.main import run_command
from changeover.client import Client
from changeover.core.errors import ChangeoverError
from changeover.tasks.declarations import load_task
from changeover.tools.load import load_tool


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    project = write_project(tmp_path / "project")
    monkeypatch.chdir(project)
    return User(project, capsys)


@pytest.fixture
def host(tools_up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    """Somebody in the project that runs."""
    monkeypatch.chdir(tools_up.project)
    return User(tools_up.project, capsys)


def test_tools_that_were_not_added_are_listed_and_marked_in_a_project_and_outside(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = user.json("tools")
    assert [row["name"] for row in listed if not row["added"]] == sorted(shipped_names(), key=_place(listed))
    monkeypatch.chdir(tmp_path)
    assert user.json("tools") == listed
    status, out, _ = user.call("tools")
    assert status == 0
    assert "not added" in out
    assert "changeover tool add NAME" in out


def test_the_list_of_tools_names_files_and_texts_of_examples(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "width", 240)
    lines = {line.split()[0]: line.rstrip() for line in user.call("tools")[1].splitlines() if line.strip()}
    for name, example in (
        ("commit-message", "diff, reason"),
        ("filing-answers", "example.pdf, question"),
        ("document-comparison", "terms-2025.md, terms-2026.md"),
    ):
        assert lines[name].endswith(f" {example}")


def _place(listed: list[dict[str, Any]]) -> Any:
    groups = {row["name"]: (row["group"] == "Other", row["group"]) for row in listed}
    return lambda name: (groups[name], name)


def test_the_tools_of_a_project_say_who_answers_them_now(host: User) -> None:
    rows = {row["name"]: row for row in host.json("tools")}
    [task] = rows[SHIPPED]["tasks"]
    assert rows[SHIPPED]["added"]
    assert (task["name"], task["family"], task["answers"]) == (f"{SHIPPED}.summarise", "gemma", "echo")
    status, out, _ = host.call("tools")
    assert status == 0
    assert "summarise (gemma): echo" in out
    assert "no task" in out  # a tool that asks nobody


def test_a_broken_tool_is_named_with_what_is_wrong_and_stops_no_other(user: User) -> None:
    assert user.call("tool", "new", "headline")[0] == 0
    (user.project / "tools" / "broken").mkdir()
    (user.project / "tools" / "broken" / "tool.toml").write_text('title = "Broken"\nstepz = 3\n')
    rows = {row["name"]: row for row in user.json("tools") if row["added"]}
    assert rows["headline"]["problem"] is None
    assert "stepz" in rows["broken"]["problem"]
    status, out, _ = user.call("tool", "check")
    assert status == 1
    assert "1 of 2 can be used" in out
    assert user.call("tool", "check", "headline")[0] == 0


def test_a_new_tool_is_whole_and_says_what_comes_next(user: User) -> None:
    made = user.json("tool", "new", "summary-of-day", "--title", 'The "day"')
    assert made["next"] == [
        "changeover tool check summary-of-day",
        "changeover up",
        "changeover run summary-of-day --example",
    ]
    tool = load_tool(user.project / "tools" / "summary-of-day")
    assert tool.declared.title == 'The "day"'
    assert tool.tasks == ("summary-of-day.answer",)
    [checked] = user.json("tool", "check")
    assert (checked["problems"], checked["samples"]) == ([], {"summary-of-day.answer": 5})
    assert not list(user.project.glob(".summary*"))


def _first_incumbent(user: User, name: str) -> str:
    assert user.call("tool", "new", name)[0] == 0
    return load_task(user.project / "tools" / name / "tasks" / "answer.toml", of_tool=name).declared.first_incumbent


def test_a_new_tool_begins_with_echo_where_no_weights_are(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "empty"))
    assert _first_incumbent(user, "one") == "echo"


@pytest.mark.models
def test_a_new_tool_begins_with_the_largest_model_that_the_project_uses_else_with_the_smallest(user: User) -> None:
    assert _first_incumbent(user, "one") == "smollm2-135m-instruct"
    assert user.call("tool", "add", SHIPPED)[0] == 0
    assert _first_incumbent(user, "two") == "qwen2.5-coder-0.5b-instruct"


def test_a_copy_under_another_name_is_a_tool_of_its_own(user: User) -> None:
    assert user.call("tool", "new", "board-papers", "--from", SHIPPED, "--title", "Board papers")[0] == 0
    tool = load_tool(user.project / "tools" / "board-papers")
    assert tool.declared.title == "Board papers"
    assert tool.tasks == ("board-papers.summarise",)
    assert SHIPPED not in (tool.folder / "tasks" / "summarise.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["tool", "new", "Bad Name"], 2, "cannot be a tool's name"),
        (["tool", "new", "../out"], 2, "cannot be a tool's name"),
        (["tool", "new", "x", "--from", "document-sumary"], 2, "Did you mean `document-summary`?"),
        (["tool", "add", "nothing-like-it"], 2, "No tool named `nothing-like-it` comes with changeover"),
        (["tool", "add"], 2, "Name tools to add"),
        (["tool", "show", "document-sumary"], 2, "Did you mean `document-summary`?"),
        (["tool", "check", "nowhere"], 2, "No tool named `nowhere`"),
        (["tool", "check"], 2, "changeover tool add --all"),
        (["init", "elsewhere", "--tools", "document-sumary"], 2, "Did you mean"),
        (["key", "new", "k", "--tool", "document-sumary"], 2, "No tool named"),
    ],
)
def test_what_cannot_be_made_changes_nothing_and_says_why(
    user: User, arguments: list[str], status: int, said: str
) -> None:
    if arguments[0] == "key":
        open_written(user.project).store.close()
    found, out, err = user.call(*arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert not (user.project / "tools").exists()
    assert not (user.project / "elsewhere").exists()


def test_shipped_tools_are_added_once_and_never_over_what_is_there(user: User) -> None:
    assert user.json("tool", "add", SHIPPED)["added"] == [SHIPPED]
    mine = user.project / "tools" / SHIPPED / "tool.toml"
    mine.write_text(mine.read_text() + "# mine\n")
    status, _, err = user.call("tool", "add", SHIPPED)
    assert status == 2
    assert "is there already. Nothing was changed" in err
    added = user.json("tool", "add", "--all")["added"]
    assert added == [name for name in shipped_names() if name != SHIPPED]
    assert mine.read_text().endswith("# mine\n")


def test_a_tool_that_cannot_be_copied_whole_is_not_there(user: User) -> None:
    tools = user.project / "tools"
    tools.write_text("in the way")
    with pytest.raises(ChangeoverError, match="Cannot make"):
        derive_tool(tools, "copy", of=SHIPPED, title=None)
    assert [file.name for file in user.project.iterdir() if "copy" in file.name] == []


def test_a_project_begins_with_the_tools_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "mine", "--tools", f"{SHIPPED},"]) == 0
    assert "tools/ (1)" in capsys.readouterr().out
    assert run_command(["init", "everything", "--tools", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tools"] == shipped_names()
    assert [file.name for file in (tmp_path / "mine" / "tools").iterdir()] == [SHIPPED]


def test_a_tool_is_shown_whole(host: User) -> None:
    status, out, _ = host.call("tool", "show", SHIPPED)
    assert status == 0
    for part in ("document", "map summarise", "answered by echo", "citations", f"changeover run {SHIPPED} --example"):
        assert part in out
    shown = host.json("tool", "show", "talk")
    assert shown["declared"]["steps"][0]["do"] == "call"
    assert shown["chat"]


def test_every_example_is_run_through_the_gateway_and_held_to_its_contract(host: User, tools_up: Up) -> None:
    names = (SHIPPED, "headline", "talk", "waits")
    checked = {each["tool"]: each for each in host.json("tool", "check", *names, "--run")}
    assert [checked[name]["contract"] for name in names] == ["met"] * 4
    assert checked[SHIPPED]["citations"] > 0
    assert checked[SHIPPED]["injection"]
    schema = tools_up.project / "tools" / "talk" / "output.schema.json"
    before = schema.read_text()
    try:
        schema.write_text(json.dumps({"type": "object", "required": ["never"]}))
        [broken] = host.json("tool", "check", "talk", "--run", status=1)
    finally:
        schema.write_text(before)
    assert broken["contract"] == "broken" or "never" in " ".join(broken["problems"])


def test_a_key_for_a_tool_may_run_it_and_no_other(host: User, tools_up: Up) -> None:
    secret = host.json("key", "new", "reader", "--tool", SHIPPED)["key"]

    def tools() -> list[str]:
        with Client(tools_up.address, secret) as client:
            return [tool.name for tool in client.tools() if tool.tasks]

    assert _eventually(tools) == [SHIPPED]
    status, _, err = host.call("key", "new", "idle", "--tool", "waits")
    assert status == 2
    assert "`waits` asks no task" in err


def _eventually(tools: Any) -> list[str]:
    """What a key may use, once the gateway knows it."""

    def known() -> list[str] | None:
        try:
            return tools()
        except ChangeoverError:
            return None

    return until(known)

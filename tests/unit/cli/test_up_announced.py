"""What `changeover up` says once it listens."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.projects import write_project
from tests.support.tool_projects import write_tools_project

from changeover.app.create import create_installation
from changeover.cli.up import FirstKeys, announce
from changeover.core.settings import open_project


def said(project: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    installation = create_installation(open_project(project))
    announce(installation, "http://127.0.0.1:1", FirstKeys(application=None, admin=None), as_json=False)
    installation.store.close()
    return capsys.readouterr().out.splitlines()


def test_tasks_are_named_where_there_are_no_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = said(write_project(tmp_path / "p", ("echo", "other")), capsys)
    assert first.endswith("tasks  echo, other")
    assert second == 'try  changeover ask echo "…"   changeover status   changeover console   Ctrl-C stops'


def test_tasks_of_tools_are_counted_and_an_example_is_suggested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(said(write_tools_project(tmp_path / "p"), capsys))
    assert "4 tasks, 3 of them of 5 tools" in text
    assert 'changeover ask echo "…"   changeover run document-summary --example' in text

"""Copies of tools as they were applied: what a run that is under way reads stays, and what nobody reads goes."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.projects import open_written, write_project
from tests.support.tool_calls import write_tool

from changeover.app.applied_tools import UNUSED_S, AppliedTools
from changeover.app.apply import apply
from changeover.app.installation import read_again


def test_a_run_keeps_its_files_however_often_its_tool_is_applied_meanwhile(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p")
    declared = write_tool(project) / "tool.toml"
    installation = open_written(project)
    tools, folders = AppliedTools(installation), list[Path]()
    for title in ("first", "second", "third", "fourth"):
        declared.write_text(declared.read_text().replace('group = "Tests"', f'group = "Tests"  # {title}'))
        tools.follow(apply(read_again(installation), "test").revision or 0)
        folders.append(tools.current["say"].folder)
        if title == "third":
            assert all((folder / "tool.toml").is_file() for folder in folders)
            long_ago = installation.clock.now().timestamp() - UNUSED_S - 1
            for folder in folders:
                os.utime(folder.parent, (long_ago, long_ago))
    installation.store.close()
    assert [folder.is_dir() for folder in folders] == [False, False, True, True], "the third was in use until now"

"""Folders of tools as they are read: what lies elsewhere, and what cannot be read."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.tools import write_tool

from changeover.core.errors import ConfigError
from changeover.tools.load import load_tool, load_tools

TOML = """
steps = [{ do = "split", name = "parts", source = "'x'" }]
output = { value = {}, text = "'x'", schema_file = "out.json" }
example = {}
[inputs]
text = { type = "text", required = false }
"""


@pytest.mark.parametrize("folder", ["../policies", ".", "PLACE"])
def test_knowledge_lies_in_the_folder_for_the_folder_is_what_is_copied(tmp_path: Path, folder: str) -> None:
    (tmp_path / "policies").mkdir()
    place = folder.replace("PLACE", str(tmp_path / "policies"))
    with pytest.raises(ConfigError, match="lies outside of the tool's folder"):
        write_tool(tmp_path, f'{TOML}\n[knowledge.rules]\nfolder = "{place}"')


def test_a_tool_is_another_when_one_of_its_files_is_and_the_same_with_other_datasets(tmp_path: Path) -> None:
    first = write_tool(tmp_path, TOML)
    (first.folder / "tasks" / "more.jsonl").write_text("{}")
    assert load_tool(first.folder).digest == first.digest
    (first.folder / "note.md").write_text("x")
    assert load_tool(first.folder).digest != first.digest


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read, not even root")
def test_a_file_that_cannot_be_read_stops_no_other_tool(tmp_path: Path) -> None:
    write_tool(tmp_path, TOML, name="good")
    bad = write_tool(tmp_path, TOML, name="bad")
    (bad.folder / "notes").symlink_to("/proc/self/mem")
    tools = load_tools(tmp_path)
    assert list(tools) == ["good"]
    assert "a file in it cannot be read" in tools.problems["bad"].message


def test_a_tool_asks_its_own_tasks_and_no_others_of_their_names_though_its_folder_is_gone(tmp_path: Path) -> None:
    tool = write_tool(
        tmp_path, TOML.replace('do = "split"', 'do = "call", task = "ask"').replace("source", "give.text")
    )
    copied = replace(tool, folder=tmp_path / "copy")
    shutil.rmtree(tool.folder)
    assert tool.tasks == copied.tasks == ("tool.ask",)


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ('record = "off"', r'`record = "metadata"`, which keeps more .* `record = "off"`'),
        ('tier = "high"', "of tier `low`"),
    ],
)
def test_a_tool_promises_no_more_than_its_tasks_hold(tmp_path: Path, says: str, problem: str) -> None:
    asks = TOML.replace('do = "split", name = "parts", source', 'do = "call", name = "parts", task = "ask", give.text')
    write_tool(tmp_path, asks)
    with pytest.raises(ConfigError, match=problem):
        write_tool(tmp_path, says + asks)

"""Files and texts of a command line, as the inputs of a tool that takes tables."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from changeover.cli.tool_inputs import KINDS, read_given
from changeover.client import Tool
from changeover.console.forms import WIDGETS
from changeover.core.errors import ConfigError
from changeover.tools.declarations import InputType
from changeover.tools.inputs import input_schema
from changeover.tools.load import load_tool

SHIPPED = Path(str(files("changeover.tools") / "shipped"))


def tool(name: str) -> Tool:
    return Tool(name=name, title=name, description="", inputs=dict(input_schema(load_tool(SHIPPED / name))), output={})


def test_every_type_of_input_has_a_place_on_the_line_and_in_a_form() -> None:
    assert WIDGETS.keys() == set(get_args(InputType))
    assert KINDS.keys() == set(get_args(InputType)) - {"conversation"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letter.txt").write_text("The statement comes.")
    (tmp_path / "glossary.csv").write_text("English,German\nstatement,Auszug\n")
    (tmp_path / "moves.csv").write_text("name,move\nCrown,1.2\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_a_glossary_is_given_as_a_file() -> None:
    given = read_given(
        tool("translation"), ["letter.txt"], ["to=German", "glossary=@glossary.csv"], example=False
    ).inputs
    assert given == {"text": "The statement comes.", "to": "German", "glossary": Path("glossary.csv")}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", [["letter.txt"], ["letter.txt", "glossary.csv"], ["glossary.csv", "letter.txt"]])
def test_a_table_that_need_not_be_given_takes_no_letter(words: list[str]) -> None:
    given = read_given(tool("translation"), words, ["to=German"], example=False).inputs
    assert given["text"] == "The statement comes."
    assert given.get("glossary") == (Path("glossary.csv") if len(words) > 1 else None)


@pytest.mark.usefixtures("here")
def test_a_table_that_must_be_given_is_a_file_and_several_are_a_batch() -> None:
    explainer = tool("spreadsheet-explainer")
    assert read_given(explainer, ["moves.csv"], [], example=False).inputs == {"table": Path("moves.csv")}
    batch = read_given(explainer, ["moves.csv", "glossary.csv"], [], example=False)
    assert (batch.many, batch.files) == ("table", (Path("moves.csv"), Path("glossary.csv")))


def test_a_table_may_be_rows() -> None:
    rows: Any = read_given(tool("spreadsheet-explainer"), [], ['table=[{"a": 1}]'], example=False).inputs["table"]
    assert rows == [{"a": 1}]


def test_a_table_that_is_no_file_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no file `moves\.csv`"):
        read_given(tool("spreadsheet-explainer"), [], ["table=@moves.csv"], example=False)

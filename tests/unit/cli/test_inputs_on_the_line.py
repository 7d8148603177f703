"""What stands on a command line becomes the inputs of a tool, by the types that they were declared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from changeover.app.shipped_tools import shipped_folder
from changeover.cli.tool_inputs import KINDS, kinds_of, read_given
from changeover.client import Tool
from changeover.console.forms import WIDGETS
from changeover.core.errors import ConfigError
from changeover.tools.declarations import InputType
from changeover.tools.describe import describe
from changeover.tools.load import load_tool


def tool(name: str) -> Tool:
    """A shipped tool, as a gateway describes it to clients."""
    return msgspec.convert(msgspec.to_builtins(describe(load_tool(shipped_folder() / name))), Tool)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table in it."""
    (tmp_path / "figures.csv").write_text("metal,change\nzinc,-2\n")
    (tmp_path / "more.csv").write_text("metal,change\ntin,4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_type_of_input_has_a_place_on_the_line_and_in_a_form() -> None:
    assert WIDGETS.keys() == set(get_args(InputType))
    assert KINDS.keys() == set(get_args(InputType)) - {"conversation"}


def test_what_an_input_is_is_read_from_its_type_required_ones_first() -> None:
    assert kinds_of(tool("market-brief")) == {"table": "table", "notes": "text", "request": "text"}
    assert kinds_of(tool("translation")) == {"text": "text", "to": "choice", "glossary": "table"}
    assert kinds_of(tool("service-ja"))["message"] == "text"


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["table=@figures.csv"], Path("figures.csv")),
        (["table=figures.csv"], Path("figures.csv")),
        (['table=[{"metal": "zinc"}]'], [{"metal": "zinc"}]),
    ],
)
def test_a_table_is_a_file_or_rows(folder: Path, sets: list[str], expected: Any) -> None:
    assert read_given(tool("market-brief"), [], sets, example=False).inputs["table"] == expected


def test_a_table_on_the_line_is_not_taken_for_a_text(folder: Path) -> None:
    given = read_given(tool("market-brief"), ["figures.csv"], ["notes=Two mills stop."], example=False)
    assert given.inputs == {"table": Path("figures.csv"), "notes": "Two mills stop."}
    given = read_given(tool("spreadsheet-explainer"), ["figures.csv", "more.csv"], [], example=False)
    assert (given.many, given.files) == ("table", (Path("figures.csv"), Path("more.csv")))


def test_a_table_that_is_no_file_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"`--set table=…`: no file `nowhere\.csv`"):
        read_given(tool("market-brief"), [], ["table=nowhere.csv"], example=False)

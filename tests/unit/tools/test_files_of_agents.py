"""Where an agent may name files by path, the schemas of the tools' inputs say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from changeover.app.shipped_tools import shipped_folder, shipped_names
from changeover.tools.declarations import FILES
from changeover.tools.inputs import input_schema
from changeover.tools.load import load_tool
from changeover.tools.mcp.files import Files

BY_PATH = {"path": "a.csv"}
BY_CONTENT = {"name": "a.csv", "content_base64": "YSxi"}


@pytest.mark.parametrize("name", shipped_names())
def test_every_file_of_a_tool_is_taken_by_its_path_or_its_content(name: str, tmp_path: Path) -> None:
    tool = load_tool(shipped_folder() / name)
    properties: dict[str, Any] = Files(tmp_path).schema(input_schema(tool))["properties"]
    for input, declared in tool.declared.inputs.items():
        takes = Draft202012Validator(properties[input]).is_valid
        for file in (BY_PATH, BY_CONTENT):
            value = [file] if declared.type == "documents" else file
            assert takes(value) == (declared.type in FILES), f"{input} ({declared.type})"
        assert properties[input]["x-input"] == declared.type
        if declared.type == "table":
            assert takes([{"a": 1}])

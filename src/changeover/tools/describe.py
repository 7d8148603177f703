"""What is said of a tool to whoever may use it: what it takes and gives, and an example that can be sent as it is."""

from __future__ import annotations

import base64
from typing import Any, cast

from changeover.tools.declarations import Tool
from changeover.tools.inputs import input_schema, output_schema, read_example
from changeover.tools.values import File

MOST_EXAMPLE_BYTES = 4 << 20
"""Of the files of an example that is shown."""


def describe(tool: Tool, *, whole: bool = False) -> dict[str, Any]:
    """A tool as the API shows it.

    Args:
        tool: What to describe.
        whole: With its example, the files in it, so that it can be sent as `inputs`; else only one without files.

    Raises:
        ConfigError: A file of its folder is gone.
    """
    declared = tool.declared
    said: dict[str, Any] = {
        "object": "tool",
        "name": tool.name,
        "title": declared.title,
        "description": declared.description,
        "group": declared.group,
        "tier": declared.tier,
        "digest": tool.digest,
        "inputs": input_schema(tool),
        "output": output_schema(tool),
        "media_type": declared.output.media_type,
        "extension": declared.output.extension,
        "chat": None if declared.chat is None else declared.chat.model_dump(),
        "tasks": list(tool.tasks),
    }
    example = read_example(tool)
    size = sum(len(file.data) for value in example.values() for file in _files(value))
    if size == 0 or (whole and size <= MOST_EXAMPLE_BYTES):
        said["example"] = {name: _sendable(value) for name, value in example.items()}
    return said


def _files(value: Any) -> list[File]:
    several = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [each for each in several if isinstance(each, File)]


def _sendable(value: Any) -> Any:
    if isinstance(value, File):
        return {"name": value.name, "content_base64": base64.b64encode(value.data).decode()}
    if isinstance(value, list):
        return [_sendable(each) for each in cast("list[Any]", value)]
    return value

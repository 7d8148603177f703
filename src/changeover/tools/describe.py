"""What is said of a tool to whoever may use it: JSON schemas of what it takes and gives, and an example to send."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, cast

from changeover.core.errors import ConfigError
from changeover.tools.declarations import FILES, InputDeclaration, Tool
from changeover.tools.load import beside, read_schema

MOST_EXAMPLE_BYTES = 4 << 20
"""Of the files of an example that are shown with it."""

Json = dict[str, Any]

FILE: Json = {
    "type": "object",
    "required": ["name", "content_base64"],
    "properties": {
        "name": {"type": "string", "description": "Such as `report.pdf`; for people."},
        "content_base64": {"type": "string", "contentEncoding": "base64"},
    },
    "additionalProperties": False,
}


def describe(tool: Tool, *, whole: bool = False) -> Json:
    """A tool as the API shows it.

    Args:
        tool: What to describe.
        whole: With an example whose files are in it, so that it can be sent as `inputs`.

    Raises:
        ConfigError: A file of its folder is gone.
    """
    declared = tool.declared
    said: Json = {
        "object": "tool",
        "name": tool.name,
        "title": declared.title,
        "description": declared.description,
        "group": declared.group,
        "tier": declared.tier,
        "digest": tool.digest,
        "inputs": inputs_schema(tool),
        "output": read_schema(tool, declared.output.schema_file),
        "media_type": declared.output.media_type,
        "extension": declared.output.extension,
        "chat": None if declared.chat is None else declared.chat.model_dump(),
        "tasks": list(tool.tasks),
    }
    example = _example(tool) if whole or not any(_files(tool)) else None
    return said if example is None else {**said, "example": example}


def inputs_schema(tool: Tool) -> Json:
    """The JSON schema of a tool's inputs."""
    inputs = tool.declared.inputs
    return {
        "type": "object",
        "required": [name for name, declared in inputs.items() if not declared.optional],
        "properties": {name: _of_input(declared) for name, declared in inputs.items()},
        "additionalProperties": False,
    }


def _of_input(declared: InputDeclaration) -> Json:
    schema = _kind(declared)
    if declared.description:
        schema = {**schema, "description": declared.description}
    return schema if declared.default is None else {**schema, "default": declared.default}


def _kind(declared: InputDeclaration) -> Json:
    text: Json = {"type": "string"}
    match declared.type:
        case "text":
            return {**text, "minLength": declared.min_chars, "maxLength": declared.most_chars}
        case "document" | "image" | "table":
            return dict(FILE)
        case "documents":
            return {"type": "array", "items": FILE, "minItems": 1, "maxItems": declared.max_items}
        case "conversation":
            said: Json = {"role": {"enum": ["user", "assistant"]}, "content": text}
            message: Json = {"type": "object", "required": list(said), "properties": said}
            return {"type": "array", "items": message, "maxItems": declared.max_items}
        case "choice":
            return {"enum": list(declared.choices)}
        case "number":
            bounds = {"minimum": declared.minimum, "maximum": declared.maximum}
            return {"type": "number", **{key: value for key, value in bounds.items() if value is not None}}
        case "flag":
            return {"type": "boolean"}
        case "list":
            return {"type": "array", "items": text, "maxItems": declared.max_items}


def _files(tool: Tool) -> Iterator[str]:
    """Names of the files of a tool's example."""
    for name, value in tool.declared.example.items():
        if tool.declared.inputs[name].type in FILES:
            yield from (str(each) for each in (cast("list[Any]", value) if isinstance(value, list) else [value]))


def _example(tool: Tool) -> Json | None:
    """Inputs that can be sent as they are; None where their files are large."""
    try:
        read = {name: beside(tool, name.removeprefix("@")).read_bytes() for name in _files(tool)}
    except OSError as exc:
        raise ConfigError(f"The example of `{tool.name}` cannot be read: {exc.strerror}.") from exc
    if sum(map(len, read.values())) > MOST_EXAMPLE_BYTES:
        return None
    shown = {
        name: {"name": name.removeprefix("@"), "content_base64": base64.b64encode(data).decode()}
        for name, data in read.items()
    }
    example: Json = {}
    for name, value in tool.declared.example.items():
        if tool.declared.inputs[name].type not in FILES:
            example[name] = _text_of(tool, value)
        else:
            example[name] = (
                [shown[str(each)] for each in cast("list[Any]", value)] if isinstance(value, list) else shown[value]
            )
    return example


def _text_of(tool: Tool, value: Any) -> Any:
    """A value of an example; a text that is the content of a file is read from it."""
    if isinstance(value, str) and value.startswith("@"):
        return beside(tool, value[1:]).read_text(encoding="utf-8")
    return value

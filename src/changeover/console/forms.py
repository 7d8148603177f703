"""Forms made from a tool's declaration, and inputs made from what a form sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from starlette.datastructures import FormData, UploadFile

from changeover.client import File, Tool

Widget = Literal["text", "area", "file", "files", "choice", "number", "flag", "list"]
WIDGETS: Mapping[str, Widget] = {
    "text": "area",
    "document": "file",
    "documents": "files",
    "image": "file",
    "table": "file",
    "conversation": "area",
    "choice": "choice",
    "number": "number",
    "flag": "flag",
    "list": "list",
}
"""By the type that an input was declared with."""
SHORT_TEXT = 200
"""A text of at most so many characters gets one line."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input of a form."""

    name: str
    label: str
    widget: Widget
    description: str
    required: bool
    default: str
    sent: str | None = None
    """What somebody sent of it before; None: nothing yet."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    most_chars: int | None = None
    accept: str = ""
    """Kinds of files that the browser offers; what is sent is looked at by content."""

    @property
    def value(self) -> str:
        """What stands in it."""
        return self.default if self.sent is None else self.sent


def fields_of(tool: Tool) -> list[Field]:
    """The fields of a tool's form, in the order in which its inputs are declared."""
    properties = cast("Mapping[str, Mapping[str, Any]]", tool.inputs.get("properties", {}))
    required = set(cast("list[str]", tool.inputs.get("required", [])))
    return [_field(name, kind, properties[name], name in required) for name, kind in tool.input_types.items()]


def _field(name: str, kind: str, schema: Mapping[str, Any], required: bool) -> Field:
    widget = WIDGETS.get(kind, "area")
    if kind == "text" and schema.get("maxLength", SHORT_TEXT + 1) <= SHORT_TEXT:
        widget = "text"
    default = schema.get("default")
    return Field(
        name=name,
        label=name.replace("_", " ").capitalize(),
        widget=widget,
        description=str(schema.get("description", "")),
        required=required,
        default=_written(default),
        choices=tuple(map(str, schema.get("enum", ()))),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        most_chars=schema.get("maxLength"),
        accept="image/*,.pdf" if kind == "image" else "",
    )


def refilled(fields: list[Field], inputs: Mapping[str, Any]) -> list[Field]:
    """The fields with what was sent in them. Files have to be chosen again: browsers let nobody fill those in."""
    return [
        field if field.widget in ("file", "files") else replace(field, sent=_written(inputs.get(field.name)))
        for field in fields
    ]


def _written(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


async def inputs_of(fields: list[Field], form: FormData) -> dict[str, Any]:
    """What a form sent, as the client takes it; what was left empty is left out."""
    inputs: dict[str, Any] = {}
    for field in fields:
        sent = form.getlist(field.name)
        if field.widget in ("file", "files"):
            files = [await _read(each) for each in sent if isinstance(each, UploadFile) and each.filename]
            if files:
                inputs[field.name] = files if field.widget == "files" else files[0]
        elif field.widget == "flag":
            inputs[field.name] = bool(sent)
        elif sent and isinstance(sent[0], str) and sent[0].strip():
            inputs[field.name] = sent[0].replace("\r\n", "\n")
    return inputs


async def _read(upload: UploadFile) -> File:
    name = (upload.filename or "file").replace("\\", "/").rsplit("/", 1)[-1]
    return File(name=name[:255], data=await upload.read())

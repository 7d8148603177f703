"""Files that an agent sends: with their content, or by a path inside the one folder that whoever starts this allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from changeover.client import File
from changeover.client.values import type_of
from changeover.core.errors import DocumentError

MOST_BYTES = 512 << 20
"""Of one file; the gateway's own limits are lower."""


@dataclass(frozen=True)
class Files:
    """Where paths may lead."""

    folder: Path | None = None
    """None: nowhere; files come with their content."""

    def schema(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The schema of a tool's inputs, with what this place allows beside."""
        if self.folder is None:
            return dict(inputs)
        properties = cast("dict[str, Any]", inputs.get("properties", {}))
        return {**inputs, "properties": {name: self._also_by_path(schema) for name, schema in properties.items()}}

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs with files in the place of paths.

        Raises:
            DocumentError: A path leads elsewhere, or to no file.
        """
        return {name: self._read(value) for name, value in given.items()}

    def _also_by_path(self, schema: dict[str, Any]) -> dict[str, Any]:
        by_path = {
            "type": "object",
            "required": ["path"],
            "properties": {"path": {"type": "string", "description": f"A file in `{self.folder}`, from there."}},
            "additionalProperties": False,
        }
        match type_of(schema):
            case "document" | "image":
                said = {key: schema[key] for key in ("description", "x-input") if key in schema}
                return {**said, "anyOf": [{key: value for key, value in schema.items() if key not in said}, by_path]}
            case "documents":
                return {**schema, "items": {"anyOf": [schema["items"], by_path]}}
            case "table":
                return {**schema, "anyOf": [*schema["anyOf"], by_path]}
            case _:
                return schema

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._read(each) for each in cast("list[Any]", value)]
        if isinstance(value, dict):
            named = cast("dict[str, Any]", value)
            return self._file(str(named["path"])) if named.keys() == {"path"} else named
        return value

    def _file(self, path: str) -> File:
        if self.folder is None:
            raise DocumentError("No path is followed here. Send the file itself: `name` and `content_base64`.")
        root = self.folder.resolve()
        try:
            file = (root / path).resolve()
            if not file.is_relative_to(root) or not file.is_file():
                raise DocumentError(f"`{path[:200]}` is no file in the folder that is allowed. Name one in it.")
            if file.stat().st_size > MOST_BYTES:
                raise DocumentError(f"`{path[:200]}` is larger than {MOST_BYTES >> 20} MiB. Send a part of it.")
            return File(file.name, file.read_bytes())
        except (OSError, ValueError) as exc:
            raise DocumentError(f"`{path[:200]}` cannot be read. Look whether it is there and may be read.") from exc

"""Inputs of a run as a request carries them: JSON, or a form where files are among them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from changeover.core.errors import RequestError


@dataclass(frozen=True)
class File:
    """A file that is not on a disk."""

    name: str
    data: bytes


def encode(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a request that sends inputs. A `Path`, a `File`, an open file and `{name, content_base64}` are files; so is a list of them.

    Raises:
        OSError: A file cannot be read.
        RequestError: Something has no JSON form, or is no base64; says which input.
    """
    files: list[tuple[str, tuple[str, bytes, str]]] = []
    fields: dict[str, Any] = {}
    for name, value in inputs.items():
        found = _files_of(value)
        if found is None:
            if value is not None:
                fields[name] = value
        else:
            files += [(name, (file.name, file.data, "application/octet-stream")) for file in found]
    if not files:
        return {"content": _json("inputs", {"inputs": fields}), "headers": {"content-type": "application/json"}}
    return {"files": files, "data": {name: _field(name, value) for name, value in fields.items()}}


def _files_of(value: Any) -> list[File] | None:
    """Files that a value is; None: it is no file."""
    if isinstance(value, File):
        return [value]
    if isinstance(value, Path):
        return [File(_letters(value.name), value.read_bytes())]
    if isinstance(value, dict) and value.keys() == {"name", "content_base64"}:
        return [_file_in(cast("dict[str, str]", value))]
    opened = cast("BinaryIO", value)
    if hasattr(opened, "read"):
        return [File(_letters(Path(str(getattr(opened, "name", "file"))).name), opened.read())]
    if isinstance(value, list | tuple) and value:
        found = [_files_of(each) for each in cast("Sequence[Any]", value)]
        if None not in found:
            return [file for files in found for file in files or ()]
    return None


def _letters(name: str) -> str:
    """The name of a file without bytes that are no letters, which disks take and requests do not."""
    return name.encode(errors="replace").decode()


def _file_in(value: Mapping[str, str]) -> File:
    """A file as an example has it, and as agents send one."""
    try:
        return File(value["name"], base64.b64decode(value["content_base64"], validate=True))
    except (binascii.Error, ValueError) as exc:
        raise RequestError(f"`{value['name']}`: `content_base64` is no base64: {exc}.") from exc


def _field(name: str, value: Any) -> str:
    """A field of a form: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else _json(name, value).decode()


def _json(name: str, value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError) as exc:
        raise RequestError(f"`{name}` cannot be sent: {exc}. Give text, numbers, lists, a `Path` or a `File`.") from exc

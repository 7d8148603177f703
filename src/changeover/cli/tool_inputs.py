"""What stands on a command line, as the inputs of a tool: by the schema of its inputs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from changeover.client import File, Tool
from changeover.core.errors import ConfigError, nearest

EXAMPLE = "@example"
STANDARD_INPUT = "-"

TABLES = (".csv", ".xlsx")
"""Names of files that are placed where a table may be given and need not."""

Kind = Literal["file", "files", "table", "text", "choice", "number", "flag", "list", "other"]
KINDS: Mapping[str, Kind] = {
    "text": "text",
    "document": "file",
    "documents": "files",
    "image": "file",
    "table": "table",
    "choice": "choice",
    "number": "number",
    "flag": "flag",
    "list": "list",
}
"""What stands for an input on the line, by the type that it was declared with; all else is JSON."""


@dataclass(frozen=True)
class Given:
    """Inputs of one run, or of many."""

    inputs: Mapping[str, Any]
    many: str | None = None
    """Name of the input that each of `files` is in turn; None: one run."""
    files: tuple[Path, ...] = ()


def kinds_of(tool: Tool) -> dict[str, Kind]:
    """What each input of a tool is, in their order; required ones first."""
    types = tool.input_types
    required = cast("list[str]", tool.inputs.get("required", []))
    names = sorted(types, key=lambda name: name not in required)
    return {name: _kind(types[name], needed=name in required) for name in names}


def read_given(tool: Tool, given: Sequence[str], sets: Sequence[str], *, example: bool) -> Given:
    """The inputs of a run.

    Raises:
        ConfigError: Something is no input of this tool, is missing, or is not what the input takes; says which.
    """
    kinds = kinds_of(tool)
    inputs: dict[str, Any] = dict(_example(tool)) if example or EXAMPLE in given else {}
    inputs.update(_settings(kinds, sets))
    words = [word for word in given if word != EXAMPLE]
    batch = _batch(kinds, inputs, words)
    if batch is not None:
        return Given(inputs, batch, tuple(Path(word) for word in words))
    for word in words:
        _place(tool, kinds, inputs, word)
    missing = [name for name in cast("list[str]", tool.inputs.get("required", [])) if name not in inputs]
    if missing:
        lines = "; ".join(f"`{name}`{_about(tool, name)}" for name in missing)
        raise ConfigError(f"`{tool.name}` needs {lines}. Give it, or try the tool's own with `--example`.")
    return Given(inputs)


def is_file(text: str) -> bool:
    """Whether a text is the path of a file."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False  # longer than a path can be, or with a zero byte in it


def _kind(declared: str, *, needed: bool) -> Kind:
    kind = KINDS.get(declared, "other")
    return "file" if kind == "table" and needed else kind


def _example(tool: Tool) -> Mapping[str, Any]:
    if tool.example is None:
        raise ConfigError(f"`{tool.name}` has no example that can be sent. Give it inputs of your own.")
    return tool.example


def _about(tool: Tool, name: str) -> str:
    description = tool.inputs["properties"][name].get("description")
    return f" ({description.rstrip('.')})" if description else ""


def _batch(kinds: Mapping[str, Kind], inputs: Mapping[str, Any], words: Sequence[str]) -> str | None:
    """The input that several files are in turn; None: they are inputs of one run."""
    free = [name for name, kind in kinds.items() if kind in ("file", "files") and name not in inputs]
    whole = len(words) > 1 and len(free) == 1 and kinds[free[0]] == "file" and all(map(is_file, words))
    return free[0] if whole else None


def _place(tool: Tool, kinds: Mapping[str, Kind], inputs: dict[str, Any], word: str) -> None:
    """Put what was given where it belongs: a file to the first input that takes one, else to one that takes text."""
    a_file = word == STANDARD_INPUT or is_file(word)
    for name, kind in kinds.items():
        if a_file and kind == "files" and isinstance(inputs.get(name, []), list):
            inputs[name] = [*inputs.get(name, []), _file(word)]
            return
        if name in inputs:
            continue
        if a_file and (kind == "file" or (kind == "table" and word.lower().endswith(TABLES))):
            inputs[name] = _file(word)
            return
    for name, kind in kinds.items():
        if kind == "text" and name not in inputs:
            inputs[name] = _text(_file(word), word) if a_file else word
            return
    if not a_file and not {"text"} & set(kinds.values()):
        what = "is a directory; name the files in it" if Path(word[:200]).is_dir() else "is no file"
        raise ConfigError(f"`{word[:200]}` {what}. `{tool.name}` takes {_list(kinds)}.")
    raise ConfigError(
        f"`{word[:200]}` is more than `{tool.name}` takes, which is {_list(kinds)}. Use `--set NAME=VALUE`."
    )


def _list(kinds: Mapping[str, Kind]) -> str:
    return ", ".join(f"`{name}` ({kind})" for name, kind in kinds.items())


def _settings(kinds: Mapping[str, Kind], sets: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for said in sets:
        name, equals, text = said.partition("=")
        if not equals:
            raise ConfigError(f"`--set {said[:200]}`: write `NAME=VALUE`.")
        if name not in kinds:
            raise ConfigError(f"`--set {name[:100]}=…`: no such input. {nearest(name[:100], kinds)}")
        value = _value(name, kinds[name], text)
        if kinds[name] in ("list", "files") and name in values:
            value = [*values[name], *value]
        values[name] = value
    return values


def _value(name: str, kind: Kind, text: str) -> Any:
    path = text.removeprefix("@")
    if kind in ("file", "files", "table") and (is_file(path) or not text.startswith("[")):
        if path != STANDARD_INPUT and not is_file(path):
            raise ConfigError(f"`--set {name}=…`: no file `{path[:200]}`.")
        return [_file(path)] if kind == "files" else _file(path)
    if text.startswith("@"):
        if not is_file(text[1:]):
            raise ConfigError(f"`--set {name}=…`: no file `{text[1:200]}`.")
        text = _text(_file(text[1:]), text[1:])
    if kind in ("text", "choice"):
        return text
    if kind == "list" and not text.lstrip().startswith("["):
        return [text]
    try:
        return json.loads(text)
    except ValueError as exc:
        wanted = {"number": "a number", "flag": "true or false"}.get(kind, "JSON")
        raise ConfigError(f"`--set {name}={text[:80]}`: `{name}` is {wanted}.") from exc


def _file(word: str) -> Path | File:
    return File("standard input", sys.stdin.buffer.read()) if word == STANDARD_INPUT else Path(word)


def _text(file: Path | File, what: str) -> str:
    raw = file.data if isinstance(file, File) else file.read_bytes()
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        shown = "standard input" if what == STANDARD_INPUT else f"`{what}`"
        raise ConfigError(f"{shown} is not UTF-8 (byte {exc.start}), and this tool takes text. Convert it.") from exc

"""Importing JSON and JSONL: one case an object, in whatever keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from changeover.core.errors import DatasetError
from changeover.evals.datasets.importers.base import (
    FIELDS,
    Draft,
    Imported,
    as_list,
    as_table,
    tags_of,
    target_of,
    text_of,
    usual,
)
from changeover.evals.datasets.read import read_json, read_text, text_lines

LISTS = ("samples", "data", "examples", "rows", "items", "cases", "tests", "records")
"""Keys under which a JSON file that is one object holds its rows."""


class _Missing(Exception):
    """A path leads nowhere in a row."""


def import_rows(path: Path, found: Imported) -> None:
    """Add the objects of a JSONL file, or of a JSON file that is a list of them."""
    paths = _checked_paths(found.choice.paths)
    for where, row in objects(path):
        if not isinstance(row, dict):
            found.skip(where, "an object is expected, one a case.")
            continue
        fields = cast("dict[str, Any]", row)
        try:
            found.drafts.append(Draft(fields=_mapped(fields, paths, found), where=where))
        except _Missing as exc:
            found.skip(where, str(exc))


def objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row of a JSONL or JSON file, with where it stands."""
    lines = text_lines(path)
    if not lines:
        raise DatasetError(f"{path}: the file is empty.")
    if path.suffix == ".jsonl" or _one_a_line(lines[0][1]):
        first = read_json(lines[0][1], f"{path}:{lines[0][0]}")
        if len(lines) > 1 or not (isinstance(first, list) or _list_in(first)):
            yield f"{path}:{lines[0][0]}", first
            for number, line in lines[1:]:
                yield f"{path}:{number}", read_json(line, f"{path}:{number}")
            return
    value = read_json(read_text(path), str(path))
    rows = as_list(value) if isinstance(value, list) else _list_in(value) or [value]
    for number, row in enumerate(rows, start=1):
        yield f"{path}: row {number}", row


def _one_a_line(line: str) -> bool:
    try:
        read_json(line, "")
    except DatasetError:
        return line.rstrip().endswith("}")  # a broken line of JSONL, not the first of a file in many lines
    return True


def _list_in(value: Any) -> list[Any] | None:
    fields = as_table(value)
    return next((fields[key] for key in LISTS if isinstance(fields.get(key), list)), None)


def _checked_paths(paths: Mapping[str, str]) -> Mapping[str, str]:
    for name, path in paths.items():
        if name not in (*FIELDS, "source") and not name.startswith("input."):
            raise DatasetError(
                f"`--map {name}={path}`: `{name}` is no field of a sample. Known: {', '.join(FIELDS)}, source, and "
                "`input.NAME` for a variable of the input template."
            )
    if "input" in paths and any(name.startswith("input.") for name in paths):
        raise DatasetError("`--map`: give either `input` or variables such as `input.document`, not both.")
    return paths


def _mapped(row: dict[str, Any], paths: Mapping[str, str], found: Imported) -> dict[str, Any]:
    values = {name: _at(row, path) for name, path in paths.items()}
    variables = {name.removeprefix("input."): value for name, value in values.items() if name.startswith("input.")}
    if variables:
        values["input"] = variables
    taken = {path.partition(".")[0] for path in paths.values()}
    for name in FIELDS:
        if name not in values and (guess := usual(name, list(row), taken)) is not None:
            values[name] = row[guess]
            taken.add(guess)
            if guess != name:
                found.note(f"taken: {name} ← {guess}")
    if "target" not in values and isinstance(values.get("input"), list):
        values["input"], values["target"] = _without_last_answer(cast("list[Any]", values["input"]))
        found.note("taken: target ← the last assistant's message")
    if isinstance(row.get("source"), str):
        values.setdefault("source", row["source"])
    for name in ("input", "target"):
        if values.get(name) in (None, "", [], {}):
            raise _Missing(f"no {name} found. Keys: {', '.join(row)}. Say where it is, such as `--map {name}=a.b`.")
    return _fields(values)


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    asked = values["input"]
    fields: dict[str, Any] = {
        "input": asked if isinstance(asked, str | list | dict) else text_of(asked),
        "target": target_of(values["target"]),
        "tags": tags_of(values.get("tags")),
    }
    for name in ("id", "cluster", "source"):
        if values.get(name) not in (None, ""):
            fields[name] = text_of(values[name])
    if values.get("tools"):
        fields["tools"] = values["tools"]
    return fields


def _at(row: dict[str, Any], path: str) -> Any:
    """The value at a dotted path; a number is a place in a list."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = cast("dict[str, Any]", value)[part]
        elif part.isdecimal() and int(part) < len(as_list(value)):
            value = as_list(value)[int(part)]
        else:
            raise _Missing(f"nothing at `{path}`. Keys: {', '.join(row)}.")
    return value


def _without_last_answer(messages: list[Any]) -> tuple[list[Any], Any]:
    last: Any = messages[-1] if messages else None
    if as_table(last).get("role") == "assistant":
        return messages[:-1], as_table(last).get("content")
    return messages, None

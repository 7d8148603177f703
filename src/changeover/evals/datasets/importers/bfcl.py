"""Importing the Berkeley Function-Calling Leaderboard's files: questions, tools, and the calls that are right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from changeover.core.errors import DatasetError
from changeover.evals.datasets.importers.base import Draft, Imported, as_list, as_table
from changeover.evals.datasets.importers.rows import objects

ANSWERS = "possible_answer"
"""Directory beside the questions that holds a file of the same name with the right calls."""

TYPES: Mapping[str, str | None] = {
    "dict": "object", "hashmap": "object", "map": "object", "hashtable": "object",
    "float": "number", "double": "number",
    "int": "integer", "long": "integer", "short": "integer", "byte": "integer", "bigint": "integer",
    "tuple": "array", "list": "array", "arraylist": "array", "set": "array", "queue": "array", "stack": "array",
    "char": "string", "str": "string",
    "bool": "boolean",
    "any": None,
}  # fmt: skip
"""Names of types that JSON Schema does not have; None: any type."""
STANDARD = frozenset({"object", "number", "integer", "array", "string", "boolean", "null"})


def import_bfcl(path: Path, found: Imported) -> None:
    """Add the cases of one file, with their answers from `possible_answer/`. Where no tool fits, no call is right."""
    irrelevance = "irrelevance" in path.stem
    answers = {} if irrelevance else _answers(path)
    category = re.sub(r"^BFCL_v\d+_", "", path.stem)
    for where, value in objects(path):
        row = as_table(value)
        id = row.get("id")
        turns = row.get("question")
        if not isinstance(id, str) or not isinstance(turns, list) or not isinstance(row.get("function"), list):
            found.skip(
                where, "a case has `id`, `question` and `function`; those that need a simulated world have none."
            )
        elif len(as_list(turns)) != 1:
            found.skip(where, "several turns depend on a simulated world, which is not here.")
        elif not irrelevance and id not in answers:
            found.skip(where, f"`{ANSWERS}/{path.name}` has no answer to `{id}`.")
        else:
            calls = [] if irrelevance else _calls(answers[id])
            fields = {
                "id": id,
                "input": as_list(turns)[0],
                "target": {"calls": calls, "order": "any"},
                "tools": [_tool(function) for function in as_list(row["function"])],
                "tags": [category],
            }
            found.drafts.append(Draft(fields=fields, where=where))
    found.scorer = "tool-calls"


def _answers(path: Path) -> dict[str, list[Any]]:
    file = path.parent / ANSWERS / path.name
    if not file.is_file():
        raise DatasetError(f"{path}: its answers are missing. Put `{ANSWERS}/{path.name}` beside it.")
    found: dict[str, list[Any]] = {}
    for where, row in objects(file):
        fields = as_table(row)
        if not isinstance(fields.get("ground_truth"), list):
            raise DatasetError(f"{where}: a list `ground_truth` is expected.")
        found[str(fields.get("id"))] = as_list(fields["ground_truth"])
    return found


def _calls(truth: list[Any]) -> list[dict[str, Any]]:
    return [
        {"name": _name(name), "arguments": arguments} for call in truth for name, arguments in as_table(call).items()
    ]


def _tool(value: Any) -> dict[str, Any]:
    function = as_table(value)
    described: dict[str, Any] = {"name": _name(str(function.get("name", "")))}
    if function.get("description"):
        described["description"] = str(function["description"])
    parameters = _schema(function.get("parameters") or {"type": "object", "properties": {}})
    return {"type": "function", "function": {**described, "parameters": parameters}}


def _name(name: str) -> str:
    """A name that the API allows: `spotify.play` is not."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


def _schema(value: Any) -> Any:
    """A description of parameters as JSON Schema."""
    if not isinstance(value, dict):
        return value
    schema: dict[str, Any] = {}
    for key, inner in cast("dict[str, Any]", value).items():
        if key == "type" and isinstance(inner, str):
            kind = inner if inner in STANDARD else TYPES.get(inner.lower(), inner.lower())
            if kind is not None and kind in STANDARD:
                schema["type"] = kind
        elif key == "properties" and isinstance(inner, dict):
            schema[key] = {name: _schema(one) for name, one in cast("dict[str, Any]", inner).items()}
        elif key == "items":
            schema[key] = _schema(inner)
        else:
            schema[key] = inner
    return schema

"""Importing datasets from what people have: CSV, JSON, promptfoo's tests, inspect_ai's logs, BFCL's files.

Each importer is loaded when a source of its kind comes.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from changeover.core.errors import DatasetError
from changeover.evals.datasets.importers.base import Choice, Draft, Imported
from changeover.evals.datasets.read import inputs_of, parse_sample, read_json, text_lines
from changeover.evals.datasets.samples import Sample

__all__ = ["Choice", "Format", "Imported", "import_sources", "samples_of"]

Format = Literal["csv", "jsonl", "promptfoo", "inspect", "bfcl"]

_HERE = "changeover.evals.datasets.importers"
_IMPORTERS: Mapping[Format, tuple[str, str]] = {
    "csv": (f"{_HERE}.tables", "import_table"),
    "jsonl": (f"{_HERE}.rows", "import_rows"),
    "promptfoo": (f"{_HERE}.promptfoo", "import_promptfoo"),
    "inspect": (f"{_HERE}.inspect_log", "import_inspect"),
    "bfcl": (f"{_HERE}.bfcl", "import_bfcl"),
}
ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".yaml", ".yml", ".eval")
"""Of the files that are taken from a directory."""


def import_sources(sources: Sequence[Path], choice: Choice, format: Format | None = None) -> Imported:
    """Read every source, a file or a directory of files, into drafts.

    Raises:
        DatasetError: The first thing that cannot be used, with file and row.
    """
    found = Imported(choice=choice)
    files = [file for source in sources for file in _files(source)]
    for file in files:
        kind = format or guess_format(file)
        _refuse_other_choice(kind, choice)
        before = len(found.drafts)
        module, name = _IMPORTERS[kind]
        getattr(importlib.import_module(module), name)(file, found)
        found.note(f"{file}: {len(found.drafts) - before} cases ({kind})")
    _name_all(found, several=len(files) > 1)
    return found


def samples_of(found: Imported) -> tuple[Sample, ...]:
    """The drafts as checked samples. Variables stand in their input as JSON until a template renders them.

    Raises:
        DatasetError: The first draft that is no sample, unless bad ones are skipped; or nothing is left.
    """
    inputs = inputs_of(None, plain=True)
    samples: dict[str, Sample] = {}
    first: dict[str, str] = {}
    for draft in found.drafts:
        try:
            sample = parse_sample(dict(draft.fields), draft.where, inputs)
        except DatasetError as exc:
            found.skip(draft.where, exc.message.removeprefix(f"{draft.where}: "))
            continue
        if sample.id in samples:
            found.skip(draft.where, f"id `{sample.id}` is also that of {first[sample.id]}.")
            continue
        samples[sample.id], first[sample.id] = sample, draft.where
    if not samples:
        reason = f" The first reason: {found.bad[0]}" if found.bad else ""
        raise DatasetError(f"No case could be taken.{reason}")
    return tuple(samples.values())


def guess_format(file: Path) -> Format:
    """What a file is, by its content first and its ending second."""
    if zipfile.is_zipfile(file):
        return "inspect"
    if file.suffix in (".yaml", ".yml"):
        return "promptfoo"
    lines = text_lines(file)
    if file.suffix in (".csv", ".tsv"):
        return "csv"
    start = lines[0][1].lstrip()[:1] if lines else ""
    if start in ("{", "["):
        return _kind_of_json(file, lines)
    if lines and any(delimiter in lines[0][1] for delimiter in ",;\t"):
        return "csv"
    raise DatasetError(
        f"{file}: neither CSV, JSON, YAML nor a log. Say what it is: `--format {'|'.join(get_args(Format))}`."
    )


def _kind_of_json(file: Path, lines: list[tuple[int, str]]) -> Format:
    try:
        value = read_json(lines[0][1], str(file))
    except DatasetError:
        try:
            value = json.loads("\n".join(line for _, line in lines))
        except (ValueError, RecursionError):
            return "jsonl"  # whose importer says what is wrong with it, and where
    keys = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set[str]()
    if {"question", "id"} <= keys and ({"function", "initial_config"} & keys or file.name.startswith("BFCL_")):
        return "bfcl"
    if {"eval", "status"} <= keys:
        return "inspect"
    if "tests" in keys and ("prompts" in keys or "providers" in keys):
        return "promptfoo"
    return "jsonl"


def _files(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DatasetError(f"No file or directory `{source}`. Name what holds the cases.")
    files = sorted(file for file in source.iterdir() if file.suffix in ENDINGS and file.is_file())
    if not files:
        raise DatasetError(f"`{source}` holds none of {', '.join(ENDINGS)}. Name the files.")
    return files


def _refuse_other_choice(kind: Format, choice: Choice) -> None:
    if any(choice.columns.values()) and kind != "csv":
        raise DatasetError(f"`--input`, `--target` and the like name columns of CSV files; for {kind} use `--map`.")
    if choice.paths and kind != "jsonl":
        raise DatasetError(f"`--map` is for JSON and JSONL; for {kind} " + _instead(kind))


def _instead(kind: Format) -> str:
    return "name the columns: `--input`, `--target`." if kind == "csv" else "the fields are known."


def _name_all(found: Imported, *, several: bool) -> None:
    """Give every draft an id and a source."""
    named: list[Draft] = []
    made: Counter[str] = Counter()
    for number, draft in enumerate(found.drafts, start=1):
        file, _, row = draft.where.rpartition(":")
        place = "".join(char for char in row if char.isdigit()) or str(number)
        stem = f"{Path(file).stem}-" if several else ""
        id = f"{stem}{int(place):04}"
        made[id] += 1
        source = f"{Path(file).name}:{row}"
        if own := draft.fields.get("source"):
            source = own if Path(file).name in own else f"{own} ({source})"
        given = {"id": id if made[id] == 1 else f"{id}-{made[id]}", **draft.fields, "source": source}
        named.append(Draft(fields=given, where=draft.where))
    found.drafts = named

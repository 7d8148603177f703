"""Importing logs of inspect_ai: the samples that it asked, `.json` or `.eval`."""

from __future__ import annotations

import importlib
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from changeover.core.errors import DatasetError
from changeover.evals.datasets.importers.base import Draft, Imported, as_list, as_table, tags_of, target_of
from changeover.evals.datasets.read import read_json, read_text

ZSTANDARD = 93
"""How new logs are packed; Python reads it by itself from 3.14 on."""
LARGEST = 256 << 20
"""Bytes of one unpacked part."""
SCORERS = {"match": "exact", "exact": "exact", "includes": "contains", "choice": "choice"}
"""Its scorers that have one of ours beside them."""


def import_inspect(path: Path, found: Imported) -> None:
    """Add the samples of a log, each once however many epochs it was asked in."""
    header, samples = _archive(path) if zipfile.is_zipfile(path) else _whole(path)
    described = as_table(header.get("eval"))
    seen: set[str] = set()
    for where, sample in samples:
        id = str(sample.get("id"))
        if id in seen:
            continue
        seen.add(id)
        try:
            fields = _fields(sample)
        except ValueError as exc:
            found.skip(where, f"sample `{id}`: {exc}.")
            continue
        fields["source"] = f"{path.name}, sample {id}, task {described.get('task', '?')}"
        found.drafts.append(Draft(fields={"id": id, **fields}, where=where))
    names = [
        str(scorer.get("name", "")).rpartition("/")[2] for scorer in map(as_table, as_list(described.get("scorers")))
    ]
    found.scorer = next((SCORERS[name] for name in names if name in SCORERS), None)
    if names and found.scorer is None:
        found.note(f"its scorer `{names[0]}` has none of ours beside it; choose one with `--scorer`")


def _whole(path: Path) -> tuple[dict[str, Any], Iterator[tuple[str, dict[str, Any]]]]:
    log = as_table(read_json(read_text(path), str(path)))
    samples = [as_table(sample) for sample in as_list(log.get("samples"))]
    if not samples:
        raise DatasetError(f"{path}: the log holds no samples. Was it written with `--no-log-samples`?")
    return log, ((f"{path}: sample {number}", sample) for number, sample in enumerate(samples, start=1))


def _archive(path: Path) -> tuple[dict[str, Any], Iterator[tuple[str, dict[str, Any]]]]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
    if not names:
        raise DatasetError(f"{path}: the log holds no samples, or is none of inspect_ai's.")
    head = next((name for name in ("header.json", "_journal/start.json") if name in archive.namelist()), None)
    header = {} if head is None else _part(archive, path, head)
    return header, ((f"{path}: {name}", _part(archive, path, name)) for name in sorted(names, key=_place))


def _place(name: str) -> tuple[int, str]:
    """Sorts `samples/10_epoch_1.json` after `samples/9_epoch_1.json`."""
    return len(name), name


def _part(archive: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any]:
    info = archive.getinfo(name)
    where = f"{path}: {name}"
    if info.file_size > LARGEST:
        raise DatasetError(f"{where}: {info.file_size} bytes; at most {LARGEST} are read.")
    try:
        content = _unpacked(path, info) if info.compress_type == ZSTANDARD else archive.read(name)
        value = read_json(content.decode("utf-8-sig"), where)
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, struct.error) as exc:
        raise DatasetError(f"{where}: damaged: {exc}.") from exc
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: an object is expected.")
    return cast("dict[str, Any]", value)


def _unpacked(path: Path, info: zipfile.ZipInfo) -> bytes:
    """A part that is packed with Zstandard."""
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError as exc:
        raise DatasetError(
            f"{path}: the log is packed with Zstandard. Install `zstandard`, or write it as JSON: "
            f"`inspect log convert --to json --output-dir . {path.name}`."
        ) from exc
    with path.open("rb") as file:
        file.seek(info.header_offset)
        names = struct.unpack("<HH", file.read(30)[26:30])  # lengths of the name and the extra field before the data
        file.seek(sum(names), 1)
        packed = file.read(info.compress_size)
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True)
        content: bytes = reader.read(info.file_size + 1)
    except zstandard.ZstdError as exc:
        raise DatasetError(f"{path}: {info.filename}: damaged: {exc}.") from exc
    return content


def _fields(sample: dict[str, Any]) -> dict[str, Any]:
    """Fields of a draft.

    Raises:
        ValueError: It holds what a dataset cannot, such as an image.
    """
    asked: Any = sample.get("input")
    messages = (
        [{"role": "user", "content": asked}]
        if isinstance(asked, str)
        else [_message(as_table(one)) for one in as_list(asked)]
    )
    if choices := as_list(sample.get("choices")):
        offered = "\n".join(f"{chr(ord('A') + number)}) {text}" for number, text in enumerate(choices))
        if not messages:
            raise ValueError("it has no input")
        messages[-1]["content"] += f"\n\n{offered}"
    metadata = as_table(sample.get("metadata"))
    return {
        "input": messages[0]["content"] if len(messages) == 1 and messages[0]["role"] == "user" else messages,
        "target": target_of(sample.get("target")),
        "tags": [tag for key in ("tags", "category", "difficulty") for tag in tags_of(metadata.get(key))],
    }


def _message(message: dict[str, Any]) -> dict[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"a message of `{role}` cannot be asked again")
    if isinstance(content, list):
        parts = [as_table(part) for part in as_list(content)]
        if any(part.get("type") != "text" for part in parts):
            raise ValueError("a message holds something else than text")
        content = "\n".join(str(part.get("text", "")) for part in parts)
    return {"role": role, "content": str(content)}

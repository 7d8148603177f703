"""Writing a dataset: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from changeover.core.errors import DatasetError
from changeover.evals.datasets.samples import Message, Sample


def line_of(sample: Sample) -> dict[str, Any]:
    """A sample as people write it in a file: nothing that says nothing."""
    line: dict[str, Any] = {"id": sample.id, "input": _input(sample), "target": sample.target}
    rest = {
        "tools": list(sample.tools),
        "tags": list(sample.tags),
        "cluster": sample.cluster,
        "source": sample.source,
    }
    return {**line, **{key: value for key, value in rest.items() if value}}


def write_dataset(path: Path, samples: Iterable[Sample], *, force: bool = False) -> None:
    """Write samples as JSONL, one a line.

    Raises:
        DatasetError: There is such a file already, and not `force`; or it cannot be written.
    """
    text = "".join(json.dumps(line_of(sample), ensure_ascii=False) + "\n" for sample in samples)
    write_text(path, text, force=force)


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        DatasetError: There is such a file already, and not `force`; or it cannot be written.
    """
    refuse_existing(path, force=force)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as exc:
        with suppress(OSError):
            draft.unlink()
        raise DatasetError(f"Cannot write `{path}`: {exc.strerror}.") from exc


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse a place that something stands in."""
    if path.is_dir():
        raise DatasetError(f"`{path}` is a directory. Name a file.")
    if path.exists() and not force:
        raise DatasetError(f"`{path}` is there already. Name another file, or say `--force` to replace it.")


def _input(sample: Sample) -> Any:
    if sample.variables is not None:
        return sample.variables
    if len(sample.input) == 1 and sample.input[0].role == "user" and sample.input[0].content:
        return sample.input[0].content
    return [_message(message) for message in sample.input]


def _message(message: Message) -> dict[str, Any]:
    line = {"role": message.role, "content": message.content, "target": message.target}
    return {key: value for key, value in line.items() if value is not None}

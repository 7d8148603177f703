"""The small file beside weights that says what they were when all of them was right: `whole` is cheap by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def facts(path: Path, known_by: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of a file, or of a directory with all its files, that nobody touched: sizes and times.

    Raises:
        OSError: It is not there.
    """
    if not path.is_dir():
        now = path.stat()
        return {**known_by, "size_bytes": now.st_size, "mtime_ns": now.st_mtime_ns}
    files = {name: (path / name).lstat() for name in names(path)}
    return {
        **known_by,
        "size_bytes": sum(now.st_size for now in files.values()),
        "files": {name: [now.st_size, now.st_mtime_ns] for name, now in files.items()},
    }


def names(directory: Path) -> list[str]:
    """Every file below a directory, by its path there."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())


def write(mark: Path, said: Mapping[str, Any]) -> None:
    """Put a mark in place at once: there is never half of one."""
    draft = mark.with_suffix(".draft")
    draft.write_text(json.dumps(said))
    draft.replace(mark)


def says(mark: Path, expected: Mapping[str, Any]) -> bool:
    """Whether a mark says all that is expected; it may say more.

    Raises:
        OSError: It is not there.
        ValueError: It is not JSON.
    """
    said = json.loads(mark.read_bytes())
    return isinstance(said, dict) and {key: said[key] for key in expected if key in said} == dict(expected)

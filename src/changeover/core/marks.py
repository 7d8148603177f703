"""Files as they are at a moment: who follows them looks again later, and reads them once something is different."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

Marks = tuple[tuple[str, int, int], ...]
"""Name, size and time of each file that can be seen."""


def marks_of(files: Iterable[Path]) -> Marks:
    """Look at files; one that is not there has no mark."""
    return tuple(_each(files))


def _each(files: Iterable[Path]) -> Iterator[tuple[str, int, int]]:
    for file in files:
        with contextlib.suppress(OSError):
            seen = file.stat()
            yield str(file), seen.st_size, seen.st_mtime_ns

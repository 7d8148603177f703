"""What was made of the files of a folder, in memory, until a file changes or other folders need the room."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Generic, TypeVar

MOST_FOLDERS: Final = 64
MOST_BYTES: Final = 128 << 20
"""Of all folders together."""
SETTLED_S: Final = 2.0
"""A file that was written so lately could be written again without a new time: some file systems tell no less apart."""

Mark = tuple[int, int, int, int]
"""Size, time, time of the last change of anything, and inode."""
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Shelved(Generic[Made]):
    """What was made of a file."""

    mark: Mark | None
    """The file's, from before it was read; None: it is to be read again."""
    made: Made
    size: int
    """Bytes in memory."""


class Shelf(Generic[Made]):
    """Folders, each with what was made of its files; the one that was not used for longest makes room."""

    def __init__(self, most_folders: int = MOST_FOLDERS, most_bytes: int = MOST_BYTES) -> None:
        """Begin empty.

        Args:
            most_folders: How many are kept.
            most_bytes: Of all together. Of a folder that alone has more, the first files are kept.
        """
        self._most_folders, self._most_bytes = most_folders, most_bytes
        self._folders: dict[Path, dict[str, Shelved[Made]]] = {}
        self._bytes: dict[Path, int] = {}
        self._lock = Lock()

    def of(self, folder: Path) -> Mapping[str, Shelved[Made]]:
        """What is kept of a folder, by the name of the file."""
        with self._lock:
            return self._folders.get(folder, {})

    def put(self, folder: Path, files: Mapping[str, Shelved[Made]]) -> None:
        """Keep what there is of a folder now, in place of what there was."""
        room, fitting = self._most_bytes, dict[str, Shelved[Made]]()
        for name, file in files.items():
            if file.mark is not None and file.size <= room:
                fitting[name] = file
                room -= file.size
        with self._lock:
            self._forget(folder)
            if fitting:  # the last: the others are older
                self._folders[folder], self._bytes[folder] = fitting, self._most_bytes - room
            while len(self._folders) > self._most_folders or sum(self._bytes.values()) > self._most_bytes:
                self._forget(next(iter(self._folders)))

    def size(self) -> int:
        """Bytes that are kept."""
        with self._lock:
            return sum(self._bytes.values())

    def _forget(self, folder: Path) -> None:
        self._folders.pop(folder, None)
        self._bytes.pop(folder, None)


def mark_of(file: Path) -> Mark | None:
    """What tells a file from what it was before; None where it cannot be told: it was written just now, or is gone."""
    try:
        seen = file.stat()
    except OSError:
        return None
    if abs(time.time() - seen.st_mtime) < SETTLED_S:
        return None
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino

"""What could not be told to the store before a process ended, in a private file that the next start reads."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import msgspec

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Spool:
    """Files of one kind in a directory: one for each process that had something left over. JSON lines."""

    def __init__(self, directory: Path, kind: str, writer: str) -> None:
        self._directory = directory
        self._kind = kind
        self._file = directory / f"{kind}-{writer}.jsonl"
        self._taken: list[BufferedReader] = []

    def write(self, items: Sequence[Any]) -> None:
        """Keep items for the next start, whole or not at all. A disk that is full loses them, with a word in the log."""
        if not items:
            return
        draft = self._file.with_suffix(".draft")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(msgspec.json.Encoder().encode_lines(items))
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self._file)
        except OSError as exc:
            log.error("%d rows of %s are lost: %s", len(items), self._kind, exc)

    def take(self, kind: type[Item]) -> list[Item]:
        """Items that earlier processes kept and nobody else is reading; they stay in their files until `done`."""
        found: list[Item] = []
        for path in sorted(self._directory.glob(f"{self._kind}-*.jsonl")):
            try:
                file = path.open("rb")
            except OSError as exc:
                log.warning("%s cannot be read: %s", path.name, exc)
                continue
            try:
                # The lock ends with the process that holds it, whatever its end.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                items = msgspec.json.Decoder(kind).decode_lines(file.read())
            except BlockingIOError:
                file.close()
                continue
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
                log.warning("%s cannot be used and is left as it is: %s", path.name, exc)
                file.close()
                continue
            if os.fstat(file.fileno()).st_nlink == 0:
                file.close()  # another process was done with it between our opening and our lock
                continue
            self._taken.append(file)
            found += items
        return found

    def done(self) -> None:
        """What was taken is in the store: delete its files."""
        for file in self._taken:
            Path(file.name).unlink(missing_ok=True)
            file.close()
        self._taken = []

    def leave(self) -> None:
        """What was taken is not in the store: leave its files to a later start."""
        for file in self._taken:
            file.close()
        self._taken = []

"""A deployment's log file: what its engine writes, without secrets, bounded, and what of it explains a failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from changeover.core.secrets import LEAST, MASK, without_registered

MAX_LOG_BYTES: Final = 8 << 20
"""A log that would grow beyond this is put aside as `.1`, in the place of what was put aside before."""
REASON_BYTES: Final = 16 << 10
BYTES_A_SECOND: Final = 4 << 20
"""An engine that writes more than this has to wait: it floods its log, and would take our processor time too."""
_PIECE: Final = 64 << 10
_LONGEST_LINE: Final = 16 << 10
"""Of a line that is not whole yet; its beginning is written then."""
_LLAMA_ERROR: Final = re.compile(r"^[\d.]+ E (.*)", re.MULTILINE)


class EngineLog:
    """A deployment's log file. Whatever its engine writes is appended; only the last start explains a failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0

    def begin(self) -> None:
        """A new life of the engine begins: what was written before explains nothing any more."""
        try:
            self._began = self.path.stat().st_size
        except OSError:
            self._began = 0

    def write(self, data: bytes) -> None:
        """Append, to a file that is private to the user who runs us."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size + len(data) > MAX_LOG_BYTES:
                self.path.replace(self.path.with_suffix(".log.1"))
                self._began = 0
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def reason(self, *, starting: bool) -> str | None:
        """The line since the last start that says most about its end; None if nothing was written.

        llama.cpp gives the cause of a failed start first, and then only says that everything failed. Everybody else,
        and llama.cpp later on, writes the cause last.
        """
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._began, 0 if starting else end - REASON_BYTES))
                text = file.read(REASON_BYTES).decode(errors="replace")
        except OSError:
            return None
        cause = _LLAMA_ERROR.search(text) if starting else None
        lines = [cause[1]] if cause else [line for line in text.splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else None


def last_lines(path: Path, count: int) -> list[str]:
    """The newest lines of a log, from what was put aside too; empty where nothing was written."""
    lines: list[str] = []
    for file in (path, path.with_suffix(".log.1")):
        with contextlib.suppress(OSError):
            older = file.read_text(encoding="utf-8", errors="replace").splitlines()
            lines = [*older[-(count - len(lines)) :], *lines] if count > len(lines) else lines
    return lines


def lines_since(path: Path) -> Iterator[list[str]]:
    """What is written to a log from now on, each time that somebody asks: whole lines, also over a rotation."""
    file: TextIO | None = None
    rest, at_end = "", True
    try:
        while True:
            fresh: list[str] = []
            if file is not None and _is_another(file, path):
                fresh += file.read().splitlines()  # its last ones
                file.close()
                file, at_end = None, False
            if file is None:
                with contextlib.suppress(OSError):
                    file = path.open(encoding="utf-8", errors="replace")
                    if at_end:
                        file.seek(0, os.SEEK_END)
                at_end = False
            if file is not None:
                *whole, rest = (rest + file.read()).split("\n")
                fresh += whole
            yield fresh
    finally:
        if file is not None:
            file.close()


def _is_another(file: TextIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except OSError:
        return False


class Scribe:
    """Writes down what comes out of one process, for as long as somebody has the other end of the pipe."""

    def __init__(self, log: EngineLog, secret: str) -> None:
        """Set up; nothing is read yet.

        Args:
            log: Where to.
            secret: The deployment's; some servers write how they were started.
        """
        self._log = log
        self._secret = secret
        self._task: asyncio.Task[None] | None = None

    async def reads(self) -> int:
        """Begin; gives the end of the pipe that the process writes to. Who gets it closes it once the process has it."""
        self._log.begin()
        # A pipe of our own: whoever waits for the process must not have to wait for all that have inherited it.
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader(limit=_PIECE)
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
            )
        except BaseException:
            os.close(theirs)
            raise
        self._task = asyncio.create_task(self._write_down(reader, transport))
        return theirs

    async def last_words(self, within_s: float = 0.5) -> None:
        """Wait until all is written that an ended process has said; not for what others may still say."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within_s)

    def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()

    async def _write_down(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        rest = b""
        loop = asyncio.get_running_loop()
        second, written = loop.time(), 0
        try:
            while piece := await reader.read(_PIECE):
                whole, newline, rest = (rest + piece).rpartition(b"\n")
                if len(rest) > _LONGEST_LINE:
                    # What is cut off may end as the secret begins, so that much waits for what follows.
                    rest = rest.replace(self._secret.encode(), MASK.encode())
                    cut = max(0, len(rest) - len(self._secret) + 1)
                    whole, newline, rest = whole + newline + rest[:cut], b"", rest[cut:]
                if whole or newline:
                    self._keep(whole + newline)
                written += len(piece)
                if written >= BYTES_A_SECOND:
                    await asyncio.sleep(max(0.0, second + 1 - loop.time()))
                    second, written = loop.time(), 0
        finally:
            transport.close()
            if rest:
                self._keep(self._without_beginning(rest))

    def _without_beginning(self, rest: bytes) -> bytes:
        """The last words of a process that ended within a line, and maybe within its secret."""
        secret = self._secret.encode()
        for length in range(len(secret) - 1, LEAST - 1, -1):
            if rest.endswith(secret[:length]):
                return rest[:-length] + MASK.encode()
        return rest

    def _keep(self, data: bytes) -> None:
        text = without_registered(data.decode(errors="replace").replace(self._secret, MASK))
        with contextlib.suppress(OSError):  # a full disk must not end the engine
            self._log.write(text.encode())

"""Reads files in processes of their own: started when they are needed, bounded, and replaced when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from changeover.core.errors import DocumentError
from changeover.tools.confine import environment
from changeover.tools.documents.reader import Limits
from changeover.tools.documents.reading import MOST_NOTES, out_of_memory
from changeover.tools.documents.wire import (
    LENGTH_BYTES,
    MOST_MESSAGE_BYTES,
    Ask,
    FileRead,
    FileRefused,
    OcrMode,
    PageRead,
    PagesDone,
    Started,
    Words,
    packed,
)
from changeover.tools.values import Document, File, Page

FILES_EACH = 200
"""That one process reads before another takes its place."""
START_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.1
"""At a process's memory, beside the bound that the kernel holds."""
MOST_NAME_CHARS = 120
MOST_NOTE_CHARS = 600
"""Of a note, a title or a refusal, whatever a process says."""
IDLE_S = 120.0
"""After which a process that waits is ended: one that read pictures keeps half a gigabyte."""

_NEEDED = ("bs4", "charset_normalizer", "defusedxml", "docx", "openpyxl", "PIL", "pptx", "pypdfium2")

OnPage = Callable[[int, int], None]


class Readers:
    """So many processes that read at once; one more file waits for its turn."""

    def __init__(self, count: int, memory_mib: int, idle_s: float = IDLE_S) -> None:
        """Start nothing yet.

        Args:
            count: Processes at most.
            memory_mib: Memory of each.
            idle_s: How long one is kept that has nothing to read.
        """
        self._idle_s = idle_s
        self._leaving: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(count)
        self._memory_mib = memory_mib
        self._idle: list[_Child] = []
        self._closed = False

    async def read(
        self, file: File, limits: Limits, *, ocr: OcrMode = "auto", on_page: OnPage | None = None
    ) -> Document:
        """Read a file, see `reader.Reader`.

        Raises:
            DocumentError: It cannot be read; says why, and what to do.
        """
        name = shown(file.name)
        if not file.data:
            raise DocumentError(f"`{name}` is empty: it has no bytes. Send it again.")
        if len(file.data) > limits.most_bytes:
            raise DocumentError(
                f"`{name}` has {len(file.data) / 1e6:,.1f} MB; at most {limits.most_bytes / 1e6:,.1f} MB are read. "
                "Split it, or make its pictures smaller."
            )
        limits = msgspec.structs.replace(limits, memory_mib=min(limits.memory_mib, self._memory_mib))
        async with self._turns:
            child = await self._next()
            try:
                document = await child.read(name, file.data, limits, ocr, on_page)
            finally:
                if self._closed or not child.good:
                    await child.end()
                else:
                    self._keep(child)
        return document

    @property
    def processes(self) -> list[int]:
        """Ids of those that wait for a file."""
        return [child.process.pid for child in self._idle]

    async def confined(self) -> list[str]:
        """What keeps a process from harm on this machine: see `confine`."""
        async with self._turns:
            child = await self._next()
            self._keep(child)
            return child.confined

    async def close(self) -> None:
        """End every process; one that is reading ends when it is done."""
        self._closed = True
        while self._idle:
            await self._taken().end()
        await asyncio.gather(*self._leaving)

    async def _next(self) -> _Child:
        while self._idle:
            child = self._taken()
            if child.process.returncode is None:
                return child
            # It was ended while it waited, as when the machine's memory is short: no file is to blame.
            await child.end()
        return await _Child.started(self._memory_mib)

    def _taken(self) -> _Child:
        child = self._idle.pop()
        if child.leaves is not None:
            child.leaves.cancel()
        return child

    def _keep(self, child: _Child) -> None:
        self._idle.append(child)
        child.leaves = asyncio.get_running_loop().call_later(self._idle_s, self._let_go, child)

    def _let_go(self, child: _Child) -> None:
        self._idle.remove(child)
        leaving = asyncio.create_task(child.end())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


def shown(name: str) -> str:
    """A file's name as people may see it: its last part, in one line."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if letter.isprintable() and letter != "`").strip()
    return clean[:MOST_NAME_CHARS] or "file"


@dataclass
class _Child:
    """One process."""

    process: asyncio.subprocess.Process
    directory: Path
    memory_mib: int
    confined: list[str] = field(default_factory=list[str])
    files: int = 0
    leaves: asyncio.TimerHandle | None = None
    """When it is ended, unless it gets a file before."""
    good: bool = True
    """Whether it can be given another file."""

    @classmethod
    async def started(cls, memory_mib: int) -> _Child:
        if any(importlib.util.find_spec(each) is None for each in _NEEDED):
            raise DocumentError(
                "Reading files needs the extra `documents` on this server: pip install 'changeover[documents]'"
            )
        directory = Path(tempfile.mkdtemp(prefix="changeover-reader-"))
        process = await asyncio.create_subprocess_exec(
            # -I: neither the environment nor the current directory says which code runs.
            *(sys.executable, "-I", "-m", "changeover.tools.documents.worker", str(memory_mib), str(directory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(directory),
            cwd=directory,
            start_new_session=True,
        )
        child = cls(process, directory, memory_mib)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                words = await child._words()
            if not isinstance(words, Started):
                raise ValueError("it did not begin as it should")
            child.confined = words.confined
        except (OSError, ValueError, EOFError, TimeoutError) as exc:
            await child.end()
            raise DocumentError("The process that reads files could not be started. Try again later.") from exc
        except asyncio.CancelledError:
            await child.end()
            raise
        return child

    async def read(self, name: str, data: bytes, limits: Limits, ocr: OcrMode, on_page: OnPage | None) -> Document:
        """Give it a file. Only an answer that was heard to its end leaves it `good`."""
        self.good = False
        self.files += 1
        ask = Ask(name=name, size=len(data), limits=limits, ocr=ocr)
        watch = asyncio.create_task(self._watched(limits.memory_mib << 20))
        try:
            async with asyncio.timeout(limits.seconds) as deadline:
                document = await self._answer(ask, data, on_page, deadline)
        except TimeoutError as exc:
            raise DocumentError(
                f"Reading `{name}` took longer than {limits.seconds:,.0f} s and was stopped. Split it."
            ) from exc
        except (OSError, ValueError, EOFError) as exc:
            # A kill by whoever watches it is seen here as the end of its output.
            over = watch.done() and not watch.cancelled() and watch.result()
            raise DocumentError(
                out_of_memory(name)
                if over
                else f"Reading `{name}` ended the process that reads: it is damaged, made to do harm, or too much for it. "
                "Save it again with the program that made it, or split it."
            ) from exc
        finally:
            watch.cancel()
        return document

    async def end(self) -> None:
        """Kill it, and whatever is in its group; its directory goes with it."""
        self.good = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    async def _answer(self, ask: Ask, data: bytes, on_page: OnPage | None, deadline: asyncio.Timeout) -> Document:
        sending = asyncio.create_task(self._send(ask, data))
        try:
            return await self._heard(ask, on_page, deadline)
        finally:
            sending.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await sending

    async def _send(self, ask: Ask, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(packed(ask))
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def _heard(self, ask: Ask, on_page: OnPage | None, deadline: asyncio.Timeout) -> Document:
        """What it says until the file's end. It is held to the limits here too: a file may have taken it over."""
        pages: list[Page] = []
        chars = 0
        clock = asyncio.get_running_loop()
        last = clock.time()
        while True:
            words = await self._words()
            if isinstance(words, PageRead):
                now = clock.time()
                if words.ocr:
                    deadline.reschedule((deadline.when() or now) + min(now - last, ask.limits.picture_seconds))
                last = now
                chars += len(words.text)
                if len(pages) >= ask.limits.most_pages or chars > ask.limits.most_chars:
                    raise ValueError("more than it may say")
                page = Page(
                    number=len(pages) + 1,
                    label=words.label[:MOST_NAME_CHARS],
                    text=words.text,
                    ocr=words.ocr,
                    confidence=words.confidence,
                )
                pages.append(page)
            elif isinstance(words, PagesDone):
                if on_page is not None:
                    on_page(words.done, words.of)
            elif isinstance(words, FileRead):
                self.good = self.files < FILES_EACH
                title = (words.title or "")[:MOST_NOTE_CHARS]
                notes = [note[:MOST_NOTE_CHARS] for note in words.notes[:MOST_NOTES]]
                return Document(name=ask.name, kind=words.kind, pages=pages, title=title or None, notes=notes)
            elif isinstance(words, FileRefused):
                self.good = self.files < FILES_EACH and not words.exhausted
                raise DocumentError(words.message[:MOST_NOTE_CHARS])
            else:
                raise ValueError("it began again")

    async def _words(self) -> Words:
        """The next message.

        Raises:
            EOFError: It ended.
            ValueError: It is none of ours.
        """
        assert self.process.stdout is not None
        length = int.from_bytes(await self.process.stdout.readexactly(LENGTH_BYTES), "big")
        if length > MOST_MESSAGE_BYTES:
            raise ValueError("too long")
        return msgspec.msgpack.decode(await self.process.stdout.readexactly(length), type=Words)

    async def _watched(self, memory_bytes: int) -> bool:
        """Kill it when it uses more than it may; true then."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            while process.memory_info().rss <= memory_bytes:  # noqa: ASYNC110 - a kernel offers a number, not an event
                await asyncio.sleep(LOOK_EVERY_S)
            process.kill()
            return True
        return False

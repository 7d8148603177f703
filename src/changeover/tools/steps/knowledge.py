"""Folders that `[knowledge]` names: read and counted once, file by file, and again only where a file has changed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import msgspec

from changeover.core.errors import ChangeoverError, ContractError, DocumentError
from changeover.tools.declarations import InputDeclaration, Tool
from changeover.tools.documents.reader import Limits
from changeover.tools.steps.counted import Counted, count
from changeover.tools.steps.passages import passages_of
from changeover.tools.steps.run import Run
from changeover.tools.steps.shelf import Shelf, Shelved, mark_of
from changeover.tools.values import Document, File

MOST_FILES = 2_000
VERSION = "1"
"""Of what is kept: raised where documents are read in another way."""
Made = TypeVar("Made")
_LIMITS = InputDeclaration(type="document", max_mib=64)


@dataclass(frozen=True)
class Folder:
    """A folder as expressions see it: `knowledge.NAME`."""

    name: str


def folders_of(tool: Tool) -> dict[str, Folder]:
    """What `knowledge` is in expressions."""
    return {name: Folder(name) for name in tool.declared.knowledge}


@dataclass(frozen=True)
class Learnt:
    """Passages of a file, with the words that they have."""

    digest: str
    """Of the file."""
    counted: Counted


@cache
def documents() -> Shelf[Document]:
    """Documents in which terms were looked up; this process's."""
    return Shelf()


@cache
def passages() -> Shelf[Learnt]:
    """What passages were looked up in; this process's."""
    return Shelf()


async def documents_in(folder: Folder, run: Run) -> list[Document]:
    """Every document of a folder. One that cannot be read is a problem, and left out.

    Raises:
        ContractError: None can be read.
    """

    async def make(file: Path, name: str) -> tuple[Document, int]:
        document, _ = await _document(file, name, run)
        return document, sum(sys.getsizeof(page) + sys.getsizeof(page.text) for page in document.pages)

    return await _made_of(folder, run, documents(), make)


async def passages_in(folder: Folder, run: Run) -> list[Learnt]:
    """The passages of every document of a folder, with their words. What cannot be read is a problem, and left out.

    Raises:
        ContractError: Nothing can be read.
    """

    async def make(file: Path, name: str) -> tuple[Learnt, int]:
        document, digest = await _document(file, name, run)
        counted, size = await run.compute(lambda: ((made := count(passages_of(document))), made.size()))
        return Learnt(digest, counted), size

    return await _made_of(folder, run, passages(), make)


async def _made_of(
    folder: Folder, run: Run, shelf: Shelf[Made], make: Callable[[Path, str], Awaitable[tuple[Made, int]]]
) -> list[Made]:
    """What is made of each file; of those that are as they were, what was made before."""
    root = run.tool.folder / run.tool.declared.knowledge[folder.name].folder
    files = await run.compute(
        lambda: [(file, file.relative_to(root).as_posix(), mark_of(file)) for file in _files(root)]
    )
    if len(files) > MOST_FILES:
        run.problem(f"`knowledge.{folder.name}` has more than {MOST_FILES:,} files; the others were not read.")
    before, now = shelf.of(root), dict[str, Shelved[Made]]()
    for number, (file, name, mark) in enumerate(files[:MOST_FILES], start=1):
        shelved = before.get(name)
        if shelved is not None and mark is not None and shelved.mark == mark:
            now[name] = shelved
            continue
        try:
            now[name] = Shelved(mark, *await make(file, name))
        except (ChangeoverError, OSError) as exc:
            said = exc.message if isinstance(exc, ChangeoverError) else str(exc)
            run.problem(f"`knowledge.{folder.name}`: `{file.name}` was left out: {said}")
        run.progress(number, len(files))
    shelf.put(root, now)
    if not now:
        raise ContractError(
            f"`knowledge.{folder.name}` has no file that can be read. Put documents into `{root.name}`."
        )
    return [shelved.made for shelved in now.values()]


def _files(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(directory, name) for name in sorted(names) if not name.startswith("."))


async def _document(file: Path, name: str, run: Run) -> tuple[Document, str]:
    most = int(_LIMITS.max_mib * (1 << 20))
    data, digest = await run.compute(lambda: _read(file, name, most))
    kept = run.means.cache / "knowledge" / f"{digest}.json"
    document = await run.compute(lambda: _kept(kept))
    if document is None:
        limits = Limits(most_bytes=most, most_pages=_LIMITS.max_pages, most_chars=_LIMITS.most_chars)
        read = await run.means.reader.read(File(name=file.name, data=data), limits)
        document = msgspec.structs.replace(read, name=name)
        await run.compute(partial(_keep, kept, document))
    return document, digest


def _read(file: Path, name: str, most: int) -> tuple[bytes, str]:
    """What a file holds, with the digest of that and of its name."""
    if file.stat().st_size > most:
        raise DocumentError(f"it has more than {most >> 20} MiB.")
    data = file.read_bytes()
    return data, hashlib.sha256(VERSION.encode() + b"\0" + name.encode() + b"\0" + data).hexdigest()


def _kept(file: Path) -> Document | None:
    """What was read before; None where it was not, or where the file is damaged: it can be read again."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Document)
    except (OSError, msgspec.MsgspecError):
        return None


def _keep(file: Path, document: Document) -> None:
    """Keep what was read; a cache that cannot be written costs time, and no more."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(msgspec.json.encode(document))
        draft.replace(file)
    except OSError:
        with suppress(OSError):
            draft.unlink()

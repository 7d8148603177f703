"""Folders that `[knowledge]` names: read once, file by file, and again only where a file has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from changeover.core.errors import ChangeoverError, ContractError, DocumentError
from changeover.core.threads import in_thread
from changeover.tools.declarations import InputDeclaration, Tool
from changeover.tools.documents.reader import Limits
from changeover.tools.steps.run import Run
from changeover.tools.values import Document, File

MOST_FILES = 2_000
VERSION = "1"
"""Of what is kept: raised where documents are read in another way."""
_LIMITS = InputDeclaration(type="document", max_mib=64)


@dataclass(frozen=True)
class Folder:
    """A folder as expressions see it: `knowledge.NAME`."""

    name: str


def folders_of(tool: Tool) -> dict[str, Folder]:
    """What `knowledge` is in expressions."""
    return {name: Folder(name) for name in tool.declared.knowledge}


async def documents_in(folder: Folder, run: Run) -> list[tuple[Document, str]]:
    """Every document of a folder, with the digest of its file. One that cannot be read is a problem, and left out.

    Raises:
        ContractError: None can be read.
    """
    root = run.tool.folder / run.tool.declared.knowledge[folder.name].folder
    files = await in_thread(lambda: list(_files(root)))
    if len(files) > MOST_FILES:
        run.problem(f"`knowledge.{folder.name}` has more than {MOST_FILES:,} files; the others were not read.")
    found: list[tuple[Document, str]] = []
    for number, file in enumerate(files[:MOST_FILES], start=1):
        try:
            found.append(await _document(file, file.relative_to(root).as_posix(), run))
        except (ChangeoverError, OSError) as exc:
            said = exc.message if isinstance(exc, ChangeoverError) else str(exc)
            run.problem(f"`knowledge.{folder.name}`: `{file.name}` was left out: {said}")
        run.progress(number, len(files))
    if not found:
        raise ContractError(
            f"`knowledge.{folder.name}` has no file that can be read. Put documents into `{root.name}`."
        )
    return found


def _files(root: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(directory, name) for name in sorted(names) if not name.startswith("."))


async def _document(file: Path, name: str, run: Run) -> tuple[Document, str]:
    most = int(_LIMITS.max_mib * (1 << 20))
    data = await in_thread(lambda: _read(file, most))
    digest = hashlib.sha256(VERSION.encode() + b"\0" + name.encode() + b"\0" + data).hexdigest()
    kept = run.means.cache / "knowledge" / f"{digest}.json"
    document = await in_thread(lambda: _kept(kept))
    if document is None:
        limits = Limits(most_bytes=most, most_pages=_LIMITS.max_pages, most_chars=_LIMITS.most_chars)
        read = await run.means.reader.read(File(name=file.name, data=data), limits)
        document = msgspec.structs.replace(read, name=name)
        await in_thread(partial(_keep, kept, document))
    return document, digest


def _read(file: Path, most: int) -> bytes:
    if file.stat().st_size > most:
        raise DocumentError(f"it has more than {most >> 20} MiB.")
    return file.read_bytes()


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

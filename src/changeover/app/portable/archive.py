"""An export on the disk: a directory or a ZIP file, written beside its place and moved there whole, read without trust."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final, Protocol, cast

from changeover.app.portable.manifest import MOST_MANIFEST, UNLISTED, Listed
from changeover.core.digest import BLOCK_BYTES
from changeover.core.errors import ConfigError
from changeover.rollouts.pack.files import open_regular

LONGEST_LINE = 256 << 20
ZIP_ENDING = ".zip"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP file knows; every file bears it, so that equal exports are equal files."""
_NOT_READABLE: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What `zipfile` raises for a file that is damaged, encrypted or packed in a way it does not know."""


class Output:
    """A file that is being written, and what the manifest will say of it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, piece: bytes) -> None:
        self._out.write(piece)
        self._digest.update(piece)
        self._bytes += len(piece)

    def listed(self) -> Listed:
        return Listed(sha256=self._digest.hexdigest(), bytes=self._bytes)


class Sink(Protocol):
    """Where an export is written. One file at a time."""

    def file(self, name: str) -> AbstractContextManager[Output]: ...


class _DirectorySink:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def file(self, name: str) -> Generator[Output]:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            yield Output(out)


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def file(self, name: str) -> Generator[Output]:
        info = zipfile.ZipInfo(name, EARLIEST)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=True) as out:
            yield Output(cast("BinaryIO", out))


def beside(place: Path) -> Path:
    """A name for what is to stand in a place later: in a container every process may have the same number."""
    return place.with_name(f".{place.name}.{token_hex(8)}")


@contextmanager
def writing(place: Path) -> Generator[Sink]:
    """Write an export: it is in its place, whole, once the block has ended, and not at all if the block fails.

    Raises:
        ConfigError: Something is there already, or the place cannot be written.
    """
    place = place.absolute()
    zipped = place.suffix.lower() == ZIP_ENDING
    if place.is_symlink() or (place.exists() and (zipped or not place.is_dir() or any(place.iterdir()))):
        raise ConfigError(f"`{place}` is there already, and nothing is written over. Name another: `--out`.")
    draft = beside(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if zipped:
            with (
                os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                yield _ZipSink(archive)
        else:
            draft.mkdir(mode=0o700)
            yield _DirectorySink(draft)
        draft.replace(place)
    except OSError as exc:
        raise ConfigError(f"`{place}` cannot be written: {exc.strerror or exc}.") from exc
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


class Archive(Protocol):
    """An export that is read."""

    def names(self) -> set[str]:
        """Every file that is there."""
        ...

    def open(self, name: str) -> BinaryIO:
        """One of them."""
        ...


class _Directory:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> set[str]:
        return set(self._walk(self._directory))

    def _walk(self, directory: Path) -> Iterator[str]:
        for each in directory.iterdir():
            mode = each.lstat().st_mode
            if stat.S_ISDIR(mode):
                yield from self._walk(each)
            elif stat.S_ISREG(mode):
                yield each.relative_to(self._directory).as_posix()
            else:
                raise ConfigError(f"`{each}` is no regular file, and an export has only those.")

    def open(self, name: str) -> BinaryIO:
        return open_regular(self._directory / name)


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = [each.filename for each in archive.infolist() if not each.is_dir()]
        if len(set(names)) != len(names):
            raise ConfigError("This ZIP file has two files of one name, and no export has. Nothing was read of it.")
        self._names = set(names)

    def names(self) -> set[str]:
        return self._names

    def open(self, name: str) -> BinaryIO:
        return cast("BinaryIO", self._archive.open(name))


@contextmanager
def reading(place: Path) -> Generator[Archive]:
    """Open an export. Nothing of it is unpacked: its files are read where they are.

    Raises:
        ConfigError: It is not there, is neither a directory nor a ZIP file, or breaks off while it is read.
    """
    try:
        if place.is_dir():
            yield _Directory(place)
            return
        with zipfile.ZipFile(place) as archive:
            yield _Zip(archive)
    except FileNotFoundError as exc:
        raise ConfigError(f"`{exc.filename or place}` is not there. Name what `changeover export` wrote.") from exc
    except _NOT_READABLE as exc:
        raise ConfigError(f"`{place}` is no export, or a damaged one: {exc}.") from exc


def read_small(archive: Archive, name: str) -> bytes:
    """A file that is read at once.

    Raises:
        ConfigError: It is not there, or too long for one.
    """
    if name not in archive.names():
        raise ConfigError(f"This is no export: it has no `{name}`. Name what `changeover export` wrote.")
    with archive.open(name) as opened:
        text = opened.read(MOST_MANIFEST + 1)
    if len(text) > MOST_MANIFEST:
        raise ConfigError(f"`{name}` of this export has more than {MOST_MANIFEST} bytes.")
    return text


def check_whole(archive: Archive, files: dict[str, Listed]) -> None:
    """Compare every file with the manifest, and refuse what the manifest does not list.

    Raises:
        ConfigError: A file is missing, damaged, or too many.
    """
    names = archive.names()
    for name in sorted(files.keys() - names):
        raise ConfigError(f"This export is not whole: it has no `{name}`. Copy it again.")
    for name in sorted(names - files.keys() - set(UNLISTED)):
        raise ConfigError(
            f"This export holds `{name[:200]}`, which its manifest does not list. Nothing was read of it."
        )
    for name, listed in files.items():
        digest, size = hashlib.sha256(), 0
        with archive.open(name) as opened:
            while (block := opened.read(BLOCK_BYTES)) and size <= listed.bytes:
                digest.update(block)
                size += len(block)
        if (size, digest.hexdigest()) != (listed.bytes, listed.sha256):
            raise ConfigError(f"`{name}` of this export is not what its manifest says: it was damaged or edited.")


def lines(archive: Archive, name: str) -> Iterator[bytes]:
    """The lines of a file, one at a time.

    Raises:
        ConfigError: The last one breaks off, or one is too long.
    """
    with archive.open(name) as opened:
        while line := opened.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise ConfigError(f"`{name}` of this export breaks off in the middle of a line, or has too long a one.")
            yield line

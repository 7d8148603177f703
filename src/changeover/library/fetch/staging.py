"""Where files stand until all of an artifact is here and right. Every kind of source puts its files in by these two doors.

Below `parts/`: `whole/`, files that were verified; `draft`, one that is being written; `*.part`, one that arrives over a
network; and whatever archives a source keeps.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from changeover.core.digest import BLOCK_BYTES, sha256_file
from changeover.core.errors import ArtifactError
from changeover.library.artifacts import Artifact, ArtifactFile
from changeover.library.fetch.access import Access
from changeover.library.fetch.contents import check_file, files_of
from changeover.library.fetch.progress import Progress

_ADVICE: Final = "Nothing of it is kept. Pull again; if that does not help, do not use this source and report the card."


class Staging:
    """The files of one artifact on their way in."""

    def __init__(self, artifact: Artifact, parts: Path, progress: Progress, access: Access) -> None:
        self.parts = parts
        self.whole = parts / "whole"
        self.files = files_of(artifact)
        self.several = bool(artifact.files)
        """Whether they have names of their own, inside a directory."""
        self.progress = progress
        self.access = access
        self.total_bytes = artifact.size_bytes
        self._right: set[str] = set()

    def missing(self) -> list[ArtifactFile]:
        """Files that are not here yet. What stands here and is not right, or belongs to no file, goes."""
        if self.whole.is_symlink():
            self.whole.unlink()
        wanted = {self.whole / file.path: file for file in self.files}
        for path in [path for path in self.whole.rglob("*") if not path.is_dir() or path.is_symlink()]:
            if path not in wanted:
                path.unlink()
        for path, file in wanted.items():
            if file.path not in self._right and path.is_file():
                if is_right(file, path):
                    self._right.add(file.path)
                else:
                    path.unlink()
        return [file for file in self.files if file.path not in self._right]

    @property
    def done_bytes(self) -> int:
        """Of the files that are here."""
        return sum(file.size_bytes for file in self.files if file.path in self._right)

    def part_of(self, file: ArtifactFile) -> Path:
        """Where a file stands while it arrives; the same whatever source it comes from."""
        return self.parts / f"{file.sha256[:16]}.part"

    def write(self, file: ArtifactFile, blocks: Iterable[bytes]) -> None:
        """Take a file from a source that gives all of it: size, then digest, then what it says of itself.

        Raises:
            ArtifactError: It is not the right one; it is not kept.
        """
        draft = self.parts / "draft"
        try:
            self._take(draft, file, *self._written(blocks, file, draft))
        finally:
            draft.unlink(missing_ok=True)

    def accept(self, file: ArtifactFile, part: Path) -> None:
        """Take a file that stands there whole.

        Raises:
            ArtifactError: It is not the right one; it is not kept.
        """
        try:
            self._take(part, file, part.stat().st_size, self._hashed(part, file))
        finally:
            part.unlink(missing_ok=True)

    def require_space(self, needed_bytes: int) -> None:
        """Refuse to begin what the disk cannot hold."""
        free = shutil.disk_usage(self.parts).free
        if needed_bytes > free:
            raise ArtifactError(
                f"The disk of `{self.parts.parent}` has {free / 1e6:,.0f} MB free and this pull needs "
                f"{needed_bytes / 1e6:,.0f} MB. Free some space or set another cache."
            )

    def _written(self, blocks: Iterable[bytes], file: ArtifactFile, draft: Path) -> tuple[int, str]:
        done = 0
        digest = hashlib.sha256()
        self.progress.start("join and verify", file.size_bytes)
        try:
            with draft.open("wb") as content:
                for block in blocks:
                    done += len(block)
                    if done > file.size_bytes:
                        break
                    content.write(block)
                    digest.update(block)
                    self.progress.advance(done)
        finally:
            self.progress.finish()
        return done, digest.hexdigest()

    def _hashed(self, part: Path, file: ArtifactFile) -> str:
        digest = hashlib.sha256()
        done = 0
        self.progress.start(f"verify {file.path}", file.size_bytes)
        try:
            with part.open("rb") as content:
                while block := content.read(BLOCK_BYTES):
                    digest.update(block)
                    done += len(block)
                    self.progress.advance(done)
        finally:
            self.progress.finish()
        return digest.hexdigest()

    def _take(self, draft: Path, file: ArtifactFile, size_bytes: int, sha256: str) -> None:
        what = f"The source gives `{file.path}`" if self.several else "The source gives a file"
        if size_bytes != file.size_bytes:
            difference = "more" if size_bytes > file.size_bytes else f"{file.size_bytes - size_bytes} bytes less"
            which = f" of `{file.path}`" if self.several else ""
            raise ArtifactError(
                f"The source gives {difference} than the card's `{file.size_bytes}` bytes{which}. {_ADVICE}"
            )
        if sha256 != file.sha256:
            raise ArtifactError(f"{what} of digest `{sha256[:16]}…`, the card says `{file.sha256[:16]}…`. {_ADVICE}")
        sync(draft)  # the marker must not outlive the content in a power cut
        place = self.whole / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(place)
        try:
            check_file(place)
        except ArtifactError:
            place.unlink()
            raise
        self._right.add(file.path)


def is_right(file: ArtifactFile, path: Path) -> bool:
    """Whether a file is what its digest says, and what its name says. Reads all of it."""
    if path.is_symlink() or path.stat().st_size != file.size_bytes:
        return False
    if sha256_file(path) != file.sha256:
        return False
    try:
        check_file(path)
    except ArtifactError:
        return False
    return True


def sync(path: Path) -> None:
    """Have a file on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())

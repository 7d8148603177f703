"""Weights that are on this machine already: copied, never moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from changeover.core.digest import BLOCK_BYTES
from changeover.core.errors import ArtifactError
from changeover.library.artifacts import FileSource
from changeover.library.fetch.staging import Staging


def fetch(source: FileSource, staging: Staging) -> None:
    """Copy the file, or what belongs to the artifact of a directory."""
    missing = staging.missing()
    staging.require_space(sum(file.size_bytes for file in missing))
    for file in missing:
        staging.write(file, _blocks(source.path / file.path if source.path.is_dir() else source.path))


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as exc:
        raise ArtifactError(f"`{path}` cannot be read: {exc.strerror}. Correct the card.") from exc

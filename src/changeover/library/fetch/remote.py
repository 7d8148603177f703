"""What hubs and mirrors share: each missing file by its address, with one bar over all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from changeover.core.errors import ArtifactError
from changeover.library.artifacts import ArtifactFile, HubSource
from changeover.library.fetch import http
from changeover.library.fetch.staging import Staging

Getter = Callable[[ArtifactFile, Path, http.Report], bool]
"""Has all of a file in a partial one; says whether it came in one answer."""
ByPath = Callable[[str, int, str | None, Path, http.Report], bool]
"""The same of a repository: by the path in it, the size, and the digest where it is known."""


def fetch_each(staging: Staging, get: Getter) -> None:
    """Have every file that is missing.

    A file that came in several answers, or of several sources, and has the wrong digest is fetched once more in one:
    a server may have changed it meanwhile without saying so.
    """
    missing = staging.missing()
    arrived = {file.path: _size(staging.part_of(file)) for file in missing}
    staging.require_space(sum(file.size_bytes - arrived[file.path] for file in missing))
    for file in missing:
        part = staging.part_of(file)
        if not _get(staging, file, part, get):
            try:
                staging.accept(file, part)
                continue
            except ArtifactError:
                http.discard(part)
                _get(staging, file, part, get)
        try:
            staging.accept(file, part)
        finally:
            http.discard(part)


def fetch_repository(source: HubSource, staging: Staging, get: ByPath) -> None:
    """Have every file that is missing from a repository."""

    def get_file(file: ArtifactFile, part: Path, report: http.Report) -> bool:
        return get(_file_there(source, file, staging), file.size_bytes, file.sha256, part, report)

    fetch_each(staging, get_file)


def _file_there(source: HubSource, file: ArtifactFile, staging: Staging) -> str:
    """What a file of an artifact is called in its repository.

    Raises:
        ArtifactError: It is the only one, and the card does not say.
    """
    if staging.several:
        return file.path
    if source.file is None:
        raise ArtifactError(
            f"The card does not say which file of `{source.repository}` it is. Add `file` to the source."
        )
    return source.file


def _get(staging: Staging, file: ArtifactFile, part: Path, get: Getter) -> bool:
    before, begun = staging.done_bytes, min(_size(part), file.size_bytes)
    done, total = before + begun, staging.total_bytes
    what = f"fetch {file.path}" if staging.several else "fetch"
    if begun:
        what += f", resuming at {100 * begun // file.size_bytes} %"
    staging.progress.start(what, total, done)
    try:
        return get(file, part, lambda here: staging.progress.advance(before + here))
    finally:
        staging.progress.finish()


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0

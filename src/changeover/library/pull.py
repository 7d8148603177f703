"""Pulling: from a card's artifact to verified files in the cache, whatever interrupts it on the way.

Below `cache/models/<digest>/` stand:

- `model.gguf`, or for an artifact of several files the directory `files/` with their own names; only once all is verified;
- `verified.json`, sizes and times then, which makes `present` cheap;
- `pull.lock`, held by the process that pulls;
- `parts/`, what was fetched so far, gone once all of it is in its place.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Literal

from changeover.core.errors import ArtifactError
from changeover.library import marks
from changeover.library.artifacts import Artifact, ArtifactSource, FileSource, HubSource, MirrorSource
from changeover.library.fetch.access import Access
from changeover.library.fetch.contents import check_together, files_of, refuse_names
from changeover.library.fetch.progress import Progress, Silent
from changeover.library.fetch.staging import Staging, is_right

__all__ = [
    "Access",
    "Progress",
    "Silent",
    "SourceKind",
    "artifact_path",
    "kind_of",
    "locked",
    "module_of",
    "present",
    "pull",
    "storage_errors",
    "verify",
]

SourceKind = Literal["package", "file", "hub", "modelscope", "mirror"]

_FETCHERS: Final[Mapping[SourceKind, str]] = MappingProxyType(
    {
        "package": "changeover.library.fetch.packages",
        "file": "changeover.library.fetch.files",
        "hub": "changeover.library.fetch.hub",
        "modelscope": "changeover.library.fetch.modelscope",
        "mirror": "changeover.library.fetch.mirror",
    }
)
"""Modules with a function `fetch(source, staging)`, those of hubs with `list_files(repository, revision, access)` too."""
_EXTRAS: Final[Mapping[str, str]] = MappingProxyType({"modelscope": "changeover[modelscope]"})


def artifact_path(artifact: Artifact, cache: Path) -> Path:
    """Where the file of an artifact is, or would be; the directory of one that has several."""
    name = "files" if artifact.files else files_of(artifact)[0].path
    return cache / "models" / artifact.sha256[:16] / name


def present(artifact: Artifact, cache: Path) -> bool:
    """Whether all of it was verified and has not been touched since. Costs two small reads and a look at each file."""
    path = artifact_path(artifact, cache)
    try:
        facts = _facts(artifact, path)
        return facts["size_bytes"] == artifact.size_bytes and marks.says(_marker(path), facts)
    except (OSError, ValueError):
        return False


def kind_of(source: ArtifactSource) -> SourceKind:
    """What kind of source it is, by the words of `changeover pull --from`."""
    match source:
        case HubSource():
            return "modelscope" if source.hub == "modelscope" else "hub"
        case MirrorSource():
            return "mirror"
        case FileSource():
            return "file"
        case _:
            return "package"


def module_of(kind: SourceKind) -> Any:
    """The module that fetches from a kind of source, and lists what a repository has.

    Raises:
        ArtifactError: It needs an extra that is not installed.
    """
    # It is imported, with the client that it needs, when such a source is first used: the one late import that is right.
    try:
        return importlib.import_module(_FETCHERS[kind])
    except ModuleNotFoundError as exc:
        if kind not in _EXTRAS:
            raise
        raise ArtifactError(f"Fetching from {kind} needs an extra. Install `{_EXTRAS[kind]}` and pull again.") from exc


def pull(
    artifact: Artifact,
    cache: Path,
    progress: Progress,
    access: Access | None = None,
    *,
    have: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """Fetch, verify and keep an artifact, or find that it is there already.

    A second process that pulls the same artifact waits for the first. What was fetched before an interruption is used again.

    Args:
        artifact: Its sources are tried in order.
        cache: Where all weights of this user are.
        progress: Told how far it is.
        access: What may be asked; None: nothing but packages, files and mirrors.
        have: Files of it that are here already, by their paths in it. They are verified as all others, and moved.

    Raises:
        ArtifactError: No source gave the right files, or they cannot be stored; nothing wrong is kept.
    """
    access = access or Access()
    refuse_names(artifact, code=access.code)
    path = artifact_path(artifact, cache)
    if present(artifact, cache):
        return path
    with storage_errors(cache):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent / "pull.lock", progress):
            if not present(artifact, cache) and not _accepted_as_found(artifact, path):
                parts = path.parent / "parts"
                parts.mkdir(exist_ok=True)
                staging = Staging(artifact, parts, progress, access)
                _take_what_is_here(staging, have)
                _pull_from_any_source(artifact, path, staging)
    return path


def verify(artifact: Artifact, cache: Path) -> Path:
    """Read all of it again and compare the digests; what changed is removed.

    Raises:
        ArtifactError: It is not there or is not what its digest says.
    """
    path = artifact_path(artifact, cache)
    if not path.exists():
        raise ArtifactError(f"`{path}` is not there. Pull the model first.")
    with storage_errors(cache), locked(path.parent / "pull.lock", Silent()):
        if not _accepted_as_found(artifact, path):
            raise ArtifactError(f"`{path}` was not what its digest says and is removed. Pull the model again.")
    return path


def _take_what_is_here(staging: Staging, have: Mapping[str, Path]) -> None:
    for file in staging.missing():
        if file.path in have:
            staging.accept(file, have[file.path])


def _pull_from_any_source(artifact: Artifact, path: Path, staging: Staging) -> None:
    problems: list[ArtifactError] = []
    for source in artifact.sources:
        try:
            module_of(kind_of(source)).fetch(source, staging)
            return _put_in_place(artifact, path, staging)
        except ArtifactError as exc:
            problems.append(exc)
    if not problems:
        raise ArtifactError(f"The card gives no source for `{artifact.sha256[:16]}…`. Add one to `artifacts.sources`.")
    raise ArtifactError(" ".join(problem.message for problem in problems)) from problems[-1]


def _put_in_place(artifact: Artifact, path: Path, staging: Staging) -> None:
    if artifact.files:
        try:
            check_together(staging.whole, artifact.files)
        except ArtifactError:
            shutil.rmtree(staging.whole)
            raise
        shutil.rmtree(path, ignore_errors=True)
        staging.whole.replace(path)
    else:
        (staging.whole / path.name).replace(path)
    _mark(artifact, path)
    shutil.rmtree(staging.parts, ignore_errors=True)  # what cannot be removed now does no harm


def _accepted_as_found(artifact: Artifact, path: Path) -> bool:
    """Whether what stands in its place without a valid marker is right; if not it is taken away.

    Of several files, those that are right are kept for the next pull.
    """
    if not path.exists():
        return False
    if _is_all_right(artifact, path):
        _mark(artifact, path)
        return True
    _marker(path).unlink(missing_ok=True)
    # Behind a link lies a directory of somebody else's: what is in it is neither moved nor removed.
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return False
    whole = path.parent / "parts" / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.parent.mkdir(exist_ok=True)
    path.replace(whole)
    return False


def _is_all_right(artifact: Artifact, path: Path) -> bool:
    if not artifact.files:
        return path.is_file() and is_right(files_of(artifact)[0], path)
    if marks.names(path) != sorted(file.path for file in artifact.files):
        return False
    if not all(is_right(file, path / file.path) for file in artifact.files):
        return False
    try:
        check_together(path, artifact.files)
    except ArtifactError:
        return False
    return True


def _marker(path: Path) -> Path:
    return path.with_name("verified.json")


def _facts(artifact: Artifact, path: Path) -> dict[str, Any]:
    return marks.facts(path, {"sha256": artifact.sha256})


def _mark(artifact: Artifact, path: Path) -> None:
    marks.write(_marker(path), _facts(artifact, path))


@contextmanager
def locked(lock: Path, progress: Progress, *, passing: bool = False) -> Generator[None]:
    """Hold a lock; the kernel lets go of it however this process ends.

    Args:
        lock: Its file.
        progress: Told where somebody else holds it and has to be waited for.
        passing: Whether the file is removed at the end.
    """
    with _held(lock, progress):
        try:
            yield
        finally:
            if passing:
                lock.unlink(missing_ok=True)


def _held(lock: Path, progress: Progress) -> BinaryIO:
    while True:
        file = lock.open("wb")
        try:
            _wait_for(file, progress)
            if _is_still(lock, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # who held it has removed it, and somebody else may hold another of that name


def _wait_for(file: BinaryIO, progress: Progress) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.start("wait for another pull of the same weights", None)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            progress.finish()


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def storage_errors(cache: Path) -> Generator[None]:
    """Say what a failure of the file system means for a pull."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"The disk of the cache `{cache}` is full. Free some space and pull again; whole parts are kept."
        else:
            message = f"The cache `{cache}` cannot be used: {exc.strerror or exc}. Set another one or mend it."
        raise ArtifactError(message) from exc

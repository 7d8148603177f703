"""What a repository has at a commit, as its hub says: files with sizes and digests. Nothing else of it is believed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError

from changeover.core.errors import ArtifactError
from changeover.library.artifacts import ArtifactFile

Hub = Literal["huggingface", "modelscope"]

MOST_FILES: Final = 20_000
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ANY_DIGEST: Final = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One file of a repository."""

    path: str
    size_bytes: int
    sha256: str | None
    """None: the hub does not say, as of files that git itself keeps."""
    git_blob: str | None
    """The id that git gives its content; None where it is not known or the hub keeps the file outside of git."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a repository at one commit."""

    hub: Hub
    repository: str
    revision: str
    files: tuple[Listed, ...]
    """By path."""


def require_commit(repository: str, revision: str, now: str | None = None) -> None:
    """Refuse a branch or a tag, and name the commit that it is now where that is known.

    Raises:
        ArtifactError: It is not a commit.
    """
    if _COMMIT.fullmatch(revision):
        return
    is_now = "" if now is None else f" It is `{now}` now: pull with `--revision {now}`."
    raise ArtifactError(f"`{revision}` of `{repository}` is no commit, and branches and tags move.{is_now}")


def listing_of(hub: Hub, repository: str, revision: str, files: Iterable[Listed]) -> Listing:
    """A listing, once every path, size and digest in it can be one.

    Raises:
        ArtifactError: The hub answered nonsense; names the first of it.
    """
    kept: dict[str, Listed] = {}
    for file in files:
        if len(kept) >= MOST_FILES or file.path in kept or (file.sha256 and not _SHA256.fullmatch(file.sha256)):
            raise nonsense(repository)
        try:
            ArtifactFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256 or _ANY_DIGEST)
        except ValidationError as exc:
            raise nonsense(repository) from exc
        kept[file.path] = file
    return Listing(hub=hub, repository=repository, revision=revision, files=tuple(kept[path] for path in sorted(kept)))


def nonsense(repository: str) -> ArtifactError:
    """The error for an answer that is no list of files."""
    return ArtifactError(
        f"The hub's list of the files of `{repository}` cannot be read. Nothing is fetched: check the address of the hub."
    )

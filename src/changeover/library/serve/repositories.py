"""What can be served: verified artifacts of the cache, as repositories with commits, by every name a card has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Final

from changeover.core.errors import LicenceError
from changeover.library.artifacts import Artifact, HubSource
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.policy import Policy
from changeover.library.pull import artifact_path, present

OWNER: Final = "changeover"
"""Every card is `changeover/<its id>`, and has the names of its repositories besides."""
MAIN: Final = "main"
"""The branch that is meant where none is named."""

Stored = Callable[[Artifact], Mapping[str, Path] | None]
"""Where each file of a verified artifact is, by its path inside it; a single file by its name in the cache. None: it is
not here, or was touched since it was verified."""


def stored_in(cache: Path) -> Stored:
    """Look for artifacts below a cache."""

    def stored(artifact: Artifact) -> Mapping[str, Path] | None:
        if not present(artifact, cache):
            return None
        path = artifact_path(artifact, cache)
        if artifact.files:
            return {file.path: path / file.path for file in artifact.files}
        return {path.name: path}

    return stored


@dataclass(frozen=True, kw_only=True)
class ServedFile:
    """One file of a repository."""

    name: str
    """Its path there, with `/`."""
    path: Path
    size_bytes: int
    sha256: str

    @property
    def etag(self) -> str:
        """As the hub's clients know a large file: they name their copy of it so."""
        return f'"{self.sha256}"'

    @property
    def pointer(self) -> bytes:
        """What a Git repository of the hub keeps in place of a large file."""
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size_bytes}\n".encode()
        )

    @property
    def blob(self) -> str:
        """Git's own id of the pointer."""
        return hashlib.sha1(b"blob %d\0%b" % (len(self.pointer), self.pointer), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Commit:
    """An immutable state of a repository."""

    id: str
    """40 hex digits: of the artifact's digest, or the hub's own commit where a card says what stands in it."""
    branch: str | None
    """The quantisation that it is of; None for a hub's own commit, which may have several."""
    files: Mapping[str, ServedFile]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model under one of its names."""

    id: str
    card: Card
    commits: Sequence[Commit]
    """The first is `main`."""

    @property
    def main(self) -> Commit:
        return self.commits[0]

    def find(self, revision: str) -> Commit | None:
        """The commit of an id or a branch: `main`, or a quantisation whatever its case."""
        if revision == MAIN:
            return self.main
        wanted = revision.casefold()
        return next((each for each in self.commits if wanted in (each.id, (each.branch or MAIN).casefold())), None)

    @property
    def branches(self) -> Iterator[tuple[str, Commit]]:
        """Every branch with its commit, `main` first."""
        yield MAIN, self.main
        named = {commit.branch: commit for commit in reversed(self.commits) if commit.branch is not None}
        yield from sorted(named.items())


class Repositories:
    """The library as repositories. Looks at the cache whenever it is asked, so that what was just pulled is there."""

    def __init__(self, catalogue: Catalogue, policy: Policy | None, stored: Stored, today: Callable[[], date]) -> None:
        """Look at nothing yet.

        Args:
            catalogue: Cards and licences.
            policy: Asked whether a model may be let out; None: the project has none.
            stored: Where verified files are.
            today: The day on which grants hold or have ended.
        """
        self._catalogue = catalogue
        self._policy = policy
        self._stored = stored
        self._today = today

    @cached_property
    def _names(self) -> dict[str, tuple[str, list[Card]]]:
        """Names and their cards by a name's folded form: several cards may name one repository."""
        names: dict[str, tuple[str, list[Card]]] = {}
        for card in self._catalogue.cards():
            for name in dict.fromkeys((f"{OWNER}/{card.id}", *card.repositories, *_source_repositories(card))):
                names.setdefault(name.casefold(), (name, []))[1].append(card)
        return names

    def find(self, name: str) -> Repository | None:
        """The repository of a name, whatever its case, with the first card that has weights here; None where none has.

        Raises:
            LicenceError: The policy does not let it out.
        """
        name, cards = self._names.get(name.casefold(), (name, []))
        for card in cards:
            if commits := list(self._commits(name, card)):
                self._require_leave(card)
                return Repository(id=name, card=card, commits=commits)
        return None

    def all(self, search: str = "") -> Iterator[Repository]:
        """Every repository that may be served and whose name holds some words, by name."""
        words = search.casefold().split()
        for folded, (name, _) in sorted(self._names.items()):
            if all(word in folded for word in words):
                try:
                    found = self.find(name)
                except LicenceError:
                    continue
                if found is not None:
                    yield found

    def _require_leave(self, card: Card) -> None:
        judgement = Licensing(self._catalogue, self._policy, self._today()).card(card)
        if judgement.allowed:
            return
        reason = next(each for each in judgement.reasons if each.outcome == judgement.outcome)
        clause = "" if reason.clause is None else f" ({reason.licence or 'policy'}, {reason.clause})"
        raise LicenceError(f"`{card.id}` is not served: {reason.says.rstrip('.')}{clause}. `changeover licences`.")

    def _commits(self, name: str, card: Card) -> Iterator[Commit]:
        """Commits of a hub that a card knows come first: who names its repository may have pinned one of them."""
        here = [(artifact, stored) for artifact in card.artifacts if (stored := self._stored(artifact)) is not None]
        upstream: dict[str, dict[str, ServedFile]] = {}
        for artifact, stored in here:
            for source in _hub_sources(artifact):
                if source.repository == name:
                    files = _files(artifact, stored, source.file or _file_name(card, artifact))
                    upstream.setdefault(source.revision, {}).update(files)
        for revision, files in upstream.items():
            yield Commit(id=revision, branch=None, files=files)
        for artifact, stored in here:
            files = _files(artifact, stored, _file_name(card, artifact))
            yield Commit(id=artifact.sha256[:40], branch=artifact.quantisation, files=files)


def _files(artifact: Artifact, stored: Mapping[str, Path], name: str) -> dict[str, ServedFile]:
    """The files of an artifact by name; `name` is that of one that is a single file."""
    if artifact.files:
        return {
            file.path: ServedFile(
                name=file.path, path=stored[file.path], size_bytes=file.size_bytes, sha256=file.sha256
            )
            for file in artifact.files
        }
    [path] = stored.values()
    return {name: ServedFile(name=name, path=path, size_bytes=artifact.size_bytes, sha256=artifact.sha256)}


def _file_name(card: Card, artifact: Artifact) -> str:
    """Of an artifact that is one file."""
    return f"{card.id}.{artifact.quantisation}.gguf" if artifact.format == "gguf" else "model.safetensors"


def _hub_sources(artifact: Artifact) -> Iterator[HubSource]:
    yield from (source for source in artifact.sources if isinstance(source, HubSource))


def _source_repositories(card: Card) -> Iterator[str]:
    for artifact in card.artifacts:
        yield from (source.repository for source in _hub_sources(artifact))

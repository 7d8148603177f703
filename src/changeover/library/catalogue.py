"""The catalogue: cards, accelerators and licences that ship with the package, and those of extra directories, checked together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import Protocol, TypeVar

from changeover.core import toml
from changeover.core.errors import ConfigError, UnknownModelError, nearest
from changeover.library.accelerators import Accelerator
from changeover.library.artifacts import PulledArtifact
from changeover.library.cards import Card
from changeover.library.facts import FactSource
from changeover.library.licences.terms import LicenceTerms


class _File(toml.Declared):
    """One TOML file: a family's cards, or accelerators, or licences."""

    cards: tuple[Card, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    licences: tuple[LicenceTerms, ...] = ()
    artifacts: tuple[PulledArtifact, ...] = ()


PULLED = "pulled"
"""Below a directory of cards: artifacts that `changeover pull` pinned."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


Kind = TypeVar("Kind", bound=_Identified)


class Catalogue:
    """Cards, accelerators and licences by id."""

    def __init__(
        self,
        cards: Mapping[str, Card],
        accelerators: Mapping[str, Accelerator] | None = None,
        licences: Mapping[str, LicenceTerms] | None = None,
    ) -> None:
        self._cards = dict(sorted(cards.items()))
        self._accelerators = dict(sorted((accelerators or {}).items()))
        self._licences = dict(sorted((licences or {}).items()))
        self._licence_names = {
            name.casefold(): terms for terms in self._licences.values() for name in (terms.id, *terms.aliases)
        }

    @classmethod
    def load(cls, *extra_directories: Path) -> Catalogue:
        """Read what ships with the package and every `*.toml` of the extra directories, where those exist.

        Below an extra directory, `pulled/` holds artifacts that belong to cards which stand elsewhere.

        Raises:
            ConfigError: A file cannot be read, a key is unknown, a value is wrong, an id stands twice,
                a lineage runs in a circle, or one digest has two sizes.
        """
        read = [*_shipped(), *_read(*extra_directories, *(directory / PULLED for directory in extra_directories))]
        cards = _by_id("card", ((file, card) for file, each in read for card in each.cards))
        accelerators = _by_id("accelerator", ((file, one) for file, each in read for one in each.accelerators))
        licences = _by_id("licence", ((file, terms) for file, each in read for terms in each.licences))
        for taken in cards.keys() & accelerators.keys():
            raise ConfigError(f"The id `{taken}` is that of a card and of an accelerator. Rename one.")
        for file, pulled in ((file, one) for file, each in read for one in each.artifacts):
            if pulled.card not in cards:
                raise ConfigError(f"{file}: `card`: no card named `{pulled.card}`. {nearest(pulled.card, cards)}")
            cards[pulled.card] = _with_artifact(cards[pulled.card], pulled, file)
        _refuse_circular_lineage(cards)
        _refuse_conflicting_sizes(cards.values())
        return cls(cards, accelerators, licences)

    def card(self, card_id: str) -> Card:
        """The card of that id.

        Raises:
            UnknownModelError: There is none; the nearest id is named.
        """
        try:
            return self._cards[card_id]
        except KeyError:
            raise UnknownModelError(f"No card named `{card_id}`. {nearest(card_id, self._cards)}") from None

    def cards(self) -> tuple[Card, ...]:
        """Every card, by id."""
        return tuple(self._cards.values())

    def accelerator(self, name: str) -> Accelerator:
        """The accelerator of that id or alias, whatever its case.

        Raises:
            UnknownModelError: There is none; the nearest id is named.
        """
        wanted = name.casefold()
        for one in self._accelerators.values():
            if wanted in (one.id, *(alias.casefold() for alias in one.aliases)):
                return one
        raise UnknownModelError(f"No accelerator named `{name}`. {nearest(wanted, self._accelerators)}")

    def accelerators(self) -> tuple[Accelerator, ...]:
        """Every accelerator, by id."""
        return tuple(self._accelerators.values())

    def licence(self, licence_id: str) -> LicenceTerms | None:
        """What is known of a licence, by its id or by another name of it, whatever the case; None where nothing is."""
        return self._licences.get(licence_id) or self._licence_names.get(licence_id.casefold())

    def licences(self) -> tuple[LicenceTerms, ...]:
        """Every licence, by id."""
        return tuple(self._licences.values())


def declared_in(directory: Path) -> frozenset[str]:
    """Ids of the cards that an extra directory declares, or brings an artifact for.

    Raises:
        ConfigError: A file cannot be read, a key is unknown or a value is wrong.
    """
    read = [toml.load(_File, file) for place in (directory, directory / PULLED) for file in _files(place)]
    cards = {card.id for each in read for card in each.cards}
    return frozenset(cards | {pulled.card for each in read for pulled in each.artifacts})


def _with_artifact(card: Card, pulled: PulledArtifact, file: Path) -> Card:
    """A card with one artifact more, behind its own, and where that was read. One that it has already changes nothing."""
    if any(pulled.artifact.sha256 == one.sha256 for one in card.artifacts):
        return card
    source = FactSource(facts=("artifacts",), at=file.name, grade="run", checked=pulled.first_pulled)
    added = {"artifacts": (*card.artifacts, pulled.artifact), "sources": (*card.sources, source)}
    return card.model_copy(update=added)


@cache
def _shipped() -> tuple[tuple[Path, _File], ...]:
    """What comes with the package: it stays as it is while a process runs, and is the larger part by far."""
    with resources.as_file(resources.files("changeover.library") / "data") as packaged:
        return tuple(_read(packaged, packaged / "licences", packaged / "accelerators"))


def _read(*directories: Path) -> list[tuple[Path, _File]]:
    return [(file, toml.load(_File, file)) for directory in directories for file in _files(directory)]


def _files(directory: Path) -> list[Path]:
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"`{directory}` is not a directory of cards. Name another, or take it out of the settings.")
    return sorted(directory.glob("*.toml"))


def _by_id(noun: str, found: Iterable[tuple[Path, Kind]]) -> dict[str, Kind]:
    files: dict[str, Path] = {}
    kept: dict[str, Kind] = {}
    for file, each in found:
        if each.id in kept:
            raise ConfigError(f"{file}: the id `{each.id}` is taken by a {noun} in {files[each.id]}. Rename it.")
        files[each.id], kept[each.id] = file, each
    return kept


def _refuse_circular_lineage(cards: Mapping[str, Card]) -> None:
    ancestors: dict[str, set[str]] = {card_id: set() for card_id in cards}
    for card_id, card in cards.items():
        for ancestor in (card.lineage.base, card.lineage.derived_from):
            if ancestor in ancestors:
                ancestors[card_id].add(ancestor)
        if card.lineage.successor in ancestors:
            ancestors[card.lineage.successor].add(card_id)
    try:
        TopologicalSorter(ancestors).prepare()
    except CycleError as exc:
        circle = " → ".join(exc.args[1])
        raise ConfigError(
            f"The lineage runs in a circle: `{circle}`. Correct `lineage` on one of these cards."
        ) from exc


def _refuse_conflicting_sizes(cards: Iterable[Card]) -> None:
    seen: dict[str, tuple[str, int]] = {}
    for card in cards:
        for artifact in card.artifacts:
            for sha256, size in (
                (artifact.sha256, artifact.size_bytes),
                *((f.sha256, f.size_bytes) for f in artifact.files),
            ):
                other, known = seen.setdefault(sha256, (card.id, size))
                if known != size:
                    raise ConfigError(
                        f"The digest `{sha256[:16]}…` has {known} bytes on card `{other}` and "
                        f"{size} bytes on card `{card.id}`. One of them is wrong."
                    )

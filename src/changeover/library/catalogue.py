"""The catalogue: every card that ships with the package, and those of extra directories, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path

from changeover.core import toml
from changeover.core.errors import ConfigError, UnknownModelError, nearest
from changeover.library.cards import Card


class _CardFile(toml.Declared):
    """One TOML file: a family's cards."""

    cards: tuple[Card, ...] = ()


class Catalogue:
    """Cards by id."""

    def __init__(self, cards: Mapping[str, Card]) -> None:
        self._cards = dict(sorted(cards.items()))

    @classmethod
    def load(cls, *extra_directories: Path) -> Catalogue:
        """Read the packaged cards and every `*.toml` of the extra directories, where those exist.

        Raises:
            ConfigError: A file cannot be read, a key is unknown, a value is wrong, an id stands twice,
                a lineage runs in a circle, or one digest has two sizes.
        """
        with resources.as_file(resources.files("changeover.library") / "data") as packaged:
            files = [file for directory in (packaged, *extra_directories) for file in _card_files(directory)]
            read = [(file, card) for file in files for card in toml.load(_CardFile, file).cards]
        found: dict[str, tuple[Path, Card]] = {}
        for file, card in read:
            if card.id in found:
                raise ConfigError(f"{file}: the id `{card.id}` is taken by a card in {found[card.id][0]}. Rename it.")
            found[card.id] = (file, card)
        cards = {card_id: card for card_id, (_, card) in found.items()}
        _refuse_circular_lineage(cards)
        _refuse_conflicting_sizes(cards.values())
        return cls(cards)

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


def _card_files(directory: Path) -> list[Path]:
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"`{directory}` is not a directory of cards. Name another, or take it out of the settings.")
    return sorted(directory.glob("*.toml"))


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
            other, size = seen.setdefault(artifact.sha256, (card.id, artifact.size_bytes))
            if size != artifact.size_bytes:
                raise ConfigError(
                    f"The digest `{artifact.sha256[:16]}…` has {size} bytes on card `{other}` and "
                    f"{artifact.size_bytes} bytes on card `{card.id}`. One of them is wrong."
                )

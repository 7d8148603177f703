"""Which card a source's row is about: by repository, hosted id, id or display name, in whatever form and spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable

from changeover.library.artifacts import HubSource
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.lineage import plain_name

_ROUTING = re.compile(r":(free|nitro|floor|exacto|batch|extended|discounted|beta)$")
"""Endings by which hosts tell ways to reach one model, not models."""


class Names:
    """The names of all cards, for thousands of rows."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._repositories: dict[str, str] = {}
        self._names: dict[str, str | None] = {}
        cards = catalogue.cards()
        for card in cards:
            for repository in repositories_of(card):
                self._repositories.setdefault(repository.casefold(), card.id)
            for name in (card.id, card.display_name):
                self._note(name, card.id)
        for card in cards:
            for host in card.hosted:
                # An alias answers with one model today and with another tomorrow: it names neither.
                if host.id is not None and host.pin != "alias":
                    self._names.setdefault(plain_name(host.id), card.id)

    def card(self, repositories: Iterable[str], names: Iterable[str]) -> str | None:
        """The id of the card; None: it has none, or two cards share the name."""
        for repository in repositories:
            if (found := self._repositories.get(repository.casefold())) is not None:
                return found
        for name in names:
            bare = without_routing(name)
            found = self._repositories.get(bare.casefold()) or self._names.get(plain_name(bare))
            if found is not None:
                return found
        return None

    def _note(self, name: str, card: str) -> None:
        plain = plain_name(name)
        self._names[plain] = card if self._names.get(plain, card) == card else None


def repositories_of(card: Card) -> list[str]:
    """Every repository of a card, on either hub."""
    fetched = [
        source.repository for artifact in card.artifacts for source in artifact.sources if isinstance(source, HubSource)
    ]
    return [*card.repositories, *card.modelscope, *fetched]


def without_routing(name: str) -> str:
    """A hosted id without the ending that only says by which way it is reached.

    >>> without_routing("openai/gpt-oss-20b:free")
    'openai/gpt-oss-20b'
    """
    return _ROUTING.sub("", name)

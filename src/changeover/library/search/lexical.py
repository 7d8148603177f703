"""Search by spelling: which cards say the words of a query, weighed by how few of the cards say them (BM25 over fields)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from changeover.library.cards import Card
from changeover.library.search.bm25 import weight
from changeover.library.search.spelling import words
from changeover.library.search.vocabulary import vocabulary

FIELDS: Final = {"name": 2.0, "scenario": 1.0, "modality": 0.5, "note": 0.3}
"""What a word counts for by where it stands. A note may say what a model is not for."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """How far a card says the words of a query."""

    score: float
    matched: tuple[str, ...]
    """Scenarios of the card that the words are about."""
    whole: tuple[str, ...]
    """Of these, the ones that every word of the query is about."""
    named: bool
    """Whether its names alone say every word: then somebody looks for it and not for a task."""


class LexicalIndex:
    """The words of some cards."""

    def __init__(self, cards: Iterable[Card]) -> None:
        cards = list(cards)
        spoken = {name: frozenset(asked.spelled) for name, asked in vocabulary().scenarios.items()}
        self._spoken = spoken
        self._scenarios = {card.id: card.scenarios for card in cards}
        self._names = {card.id: frozenset(words(_names(card))) for card in cards}
        self._said = {card.id: _said(card, spoken) for card in cards}
        # By what they are for alone, so that cards which are for the same stand beside each other, whatever their names.
        self._lengths = {card.id: sum(len(spoken.get(name, ())) for name in card.scenarios) for card in cards}
        self._average = max(1.0, sum(self._lengths.values()) / max(1, len(cards)))
        self._cards_with = Counter(word for said in self._said.values() for word in said)

    def search(self, query: str) -> dict[str, Match]:
        """Cards that say a word of the query, by id."""
        asked = asked_words(query)
        found: dict[str, Match] = {}
        for id, said in self._said.items():
            score = sum(self._weight(word, said, self._lengths[id]) for word in asked)
            if score > 0:
                about = tuple(name for name in self._scenarios[id] if any(word in self._spoken[name] for word in asked))
                whole = tuple(name for name in about if self._spoken[name].issuperset(asked))
                named = self._names[id].issuperset(asked)
                found[id] = Match(score=score, matched=about, whole=whole, named=named)
        return found

    def _weight(self, word: str, said: Mapping[str, float], length: float) -> float:
        return weight(said.get(word, 0.0), self._cards_with[word], len(self._said), length / self._average)


def asked_words(query: str) -> Sequence[str]:
    """The words of a query that say something; all of them where none does."""
    asked = list(dict.fromkeys(words(query)))
    return [word for word in asked if word not in vocabulary().stop_words] or asked


def _names(card: Card) -> str:
    return f"{card.id} {card.display_name} {card.family} {card.vendor}"


def _said(card: Card, spoken: Mapping[str, frozenset[str]]) -> dict[str, float]:
    """How much each word counts for in a card."""
    said: defaultdict[str, float] = defaultdict(float)
    modalities = vocabulary().modalities
    read = " ".join(modalities.get(name, name) for name in (*card.modalities_in, *card.modalities_out))
    texts = {"name": _names(card), "modality": read, "note": card.note}
    for field, text in texts.items():
        for word in set(words(text or "")):
            said[word] += FIELDS[field]
    for scenario in card.scenarios:
        for word in spoken.get(scenario, ()):
            said[word] += FIELDS["scenario"]
    return dict(said)

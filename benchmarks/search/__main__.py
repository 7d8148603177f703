"""How well a search over the library finds what a query is about: by words, by meaning, and by both.

    python -m benchmarks.search [--quick] [--json FILE]

Queries in six languages, each with the scenario that it is about, or with the cards that it names (`queries.jsonl`, written
for this, CC0-1.0; not by somebody else than the search's words, so read the differences). A card is relevant that is for
the scenario. Recall@5: of the first five, how many are relevant, of as many as there could be. MRR: one over the place of
the first relevant one, 0 where it is not among those shown. `--quick` changes nothing: it takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from benchmarks.promises import command
from changeover.core.errors import ConfigError
from changeover.evals.scorers.similarity import embedder
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.search.ranking import ranked
from changeover.library.search.semantic import SemanticIndex

QUERIES = Path(__file__).parent / "queries.jsonl"
FIRST = 5
ENGLISH, OTHERS = "English", "other languages"

Search = Callable[[str], Sequence[str]]
"""Gives ids of cards for a query, the best first."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A query, and the cards that it is about."""

    query: str
    language: str
    relevant: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well one search did on some queries."""

    recall: float
    mrr: float
    missed: tuple[str, ...]
    """Queries with nothing relevant among the first five."""


def read_queries(cards: Sequence[Card]) -> list[Judged]:
    """The judged queries, with what is relevant among these cards.

    Raises:
        ConfigError: A query is about nothing that there is.
    """
    judged: list[Judged] = []
    for line in QUERIES.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        named = frozenset(row.get("cards", ()))
        relevant = frozenset(card.id for card in cards if row.get("scenario") in card.scenarios or card.id in named)
        if not relevant or named - relevant:
            raise ConfigError(f"{QUERIES}: `{row['query']}` is about cards that are not there.")
        judged.append(Judged(query=row["query"], language=row["language"], relevant=relevant))
    return judged


def measure(search: Search, judged: Sequence[Judged]) -> Quality:
    """Ask every query."""
    recalls: list[float] = []
    places: list[float] = []
    missed: list[str] = []
    for each in judged:
        found = list(search(each.query))
        hits = sum(id in each.relevant for id in found[:FIRST])
        recalls.append(hits / min(FIRST, len(each.relevant)))
        places.append(next((1 / place for place, id in enumerate(found, start=1) if id in each.relevant), 0.0))
        if not hits:
            missed.append(each.query)
    return Quality(recall=fmean(recalls), mrr=fmean(places), missed=tuple(missed))


def searches(cards: Sequence[Card]) -> Mapping[str, Search]:
    """The three ways to look."""
    meaning = SemanticIndex(cards, embedder())

    def by_meaning(query: str) -> list[str]:
        near = meaning.search(query)
        return sorted(near, key=lambda id: (-round(near[id], 6), id))

    def by(query: str, index: SemanticIndex | None) -> list[str]:
        return [hit.card.id for hit in ranked(query, cards, index)]

    return {"words": partial(by, index=None), "meaning": by_meaning, "both": partial(by, index=meaning)}


def run(_quick: bool) -> dict[str, object]:
    """Everything that `--json` writes."""
    cards = Catalogue.load().cards()
    judged = read_queries(cards)
    parts = {
        "all": judged,
        ENGLISH: [each for each in judged if each.language == "en"],
        OTHERS: [each for each in judged if each.language != "en"],
    }
    return {
        "cards": len(cards),
        "queries": {name: len(part) for name, part in parts.items()},
        "quality": {
            way: {name: vars(measure(search, part)) for name, part in parts.items()}
            for way, search in searches(cards).items()
        },
    }


def show(report: dict[str, object]) -> None:
    """Print it as a table."""
    counts, quality = report["queries"], report["quality"]
    assert isinstance(counts, dict)
    assert isinstance(quality, dict)
    print(f"{report['cards']} cards; recall@{FIRST} / MRR\n")
    print(f"| by | {' | '.join(f'{name} ({count})' for name, count in counts.items())} |")
    print(f"|---|{'--:|' * len(counts)}")
    for way, parts in quality.items():
        cells = " | ".join(f"{part['recall']:.3f} / {part['mrr']:.3f}" for part in parts.values())
        print(f"| {way} | {cells} |")
    for way, parts in quality.items():
        print(f"\n{way}, nothing relevant among the first {FIRST}: {'; '.join(parts['all']['missed']) or 'never'}")


if __name__ == "__main__":
    command(__doc__, run, show)

"""Search by meaning: how near a query is to what the cards are for, in any language that the embedding model knows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from changeover.library.cards import Card
from changeover.library.search.vocabulary import vocabulary

Vector: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[str, Literal["query", "passage"]], Vector]
"""Gives the vector of a text, of length 1."""

OWN_WORDS: Final = 0.25
"""What a card's own description counts for beside the nearest thing that it is for; it mostly orders cards of one kind."""

MOST_KEPT_BYTES: Final = 6 << 20
"""Of vectors in a file, from which on those that are not asked for go; they are 1.5 KB each."""


class SemanticIndex:
    """Vectors of what some cards are for. What was computed once is kept in a file."""

    def __init__(self, cards: Iterable[Card], embed: Embed, kept: Path | None = None) -> None:
        """Embed what is not kept yet.

        Args:
            cards: What is searched.
            embed: The model.
            kept: File of vectors by the digest of their text, for this model and version. None: nothing is kept.
        """
        cards = list(cards)
        self._embed = embed
        self._scenarios = {card.id: card.scenarios for card in cards}
        self._says = {name: asked.says for name, asked in vocabulary().scenarios.items()}
        self._own = {card.id: description(card) for card in cards}
        passages = [*(text for says in self._says.values() for text in says), *self._own.values()]
        self._vectors = vectors_of(passages, embed, kept)

    def search(self, query: str) -> dict[str, float]:
        """How near each card is to a query; only the order means something."""
        asked = self._embed(query, "query")
        near = {name: max(float(asked @ self._vectors[text]) for text in says) for name, says in self._says.items()}
        return {
            id: max((near[name] for name in scenarios if name in near), default=0.0)
            + OWN_WORDS * float(asked @ self._vectors[self._own[id]])
            for id, scenarios in self._scenarios.items()
        }


def description(card: Card) -> str:
    """What a card is for, reads and writes, in a sentence. Without its name: names are found by their spelling."""
    parts = [f"for {', '.join(card.scenarios)}" if card.scenarios else ""]
    parts += [f"reads {', '.join(card.modalities_in)}" if card.modalities_in else ""]
    parts += [f"writes {', '.join(card.modalities_out)}" if card.modalities_out else ""]
    return f"A model {'; '.join(part for part in parts if part)}."


def vectors_of(
    passages: Iterable[str], embed: Embed, kept: Path | None, enough: Callable[[], bool] | None = None
) -> dict[str, Vector]:
    """The vector of each passage; what is kept in the file is not computed again.

    Args:
        passages: In the order in which they are computed.
        embed: The model.
        kept: The file; None: nothing is kept.
        enough: Asked before each; once it says so the others have no vector for now.
    """
    known = {} if kept is None else _read(kept)
    keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in passages}
    fresh: dict[str, Vector] = {}
    for text, key in keys.items():
        if key in known or key in fresh:
            continue
        if enough is not None and enough():
            break
        fresh[key] = embed(text, "passage")
    if fresh and kept is not None:
        # What was computed for other cards is worth keeping: a filter shows some of them and not others.
        full = sum(vector.nbytes for vector in known.values()) >= MOST_KEPT_BYTES
        older = {key: known[key] for key in keys.values() if key in known} if full else known
        _write(kept, {**older, **fresh})
    vectors = {**known, **fresh}
    return {text: vectors[key] for text, key in keys.items() if key in vectors}


def _read(file: Path) -> dict[str, Vector]:
    """What is kept; nothing where the file is absent or damaged, for it can be computed again."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept.files}
    except (OSError, ValueError, EOFError, BadZipFile):
        return {}


def _write(file: Path, vectors: Mapping[str, Vector]) -> None:
    """Keep vectors; a cache that cannot be written costs a second the next time, and no more."""
    draft = file.with_name(f"{file.stem}.{os.getpid()}.partial.npz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(draft, allow_pickle=False, **vectors)
        draft.replace(file)
    except OSError:
        with suppress(OSError):
            draft.unlink()

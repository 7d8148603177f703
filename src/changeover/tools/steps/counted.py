"""Passages with the words that they have, counted once: by word, so that a question looks at its own words only."""

from __future__ import annotations

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from changeover.library.search.bm25 import weight
from changeover.library.search.spelling import words
from changeover.tools.steps.passages import stop_words
from changeover.tools.values import Part

_PART = 500
"""Bytes of a passage beside its text: its names, pages and labels."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Passages, and the words that they have. It is never changed: several look-ups share it."""

    passages: Sequence[Part]
    lengths: array[int] = field(repr=False)
    """Words of each passage."""
    having: dict[str, array[int]] = field(repr=False)
    """By word: the place of a passage that has it and how often, and so on, in order."""

    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        counts = sum(sys.getsizeof(word) + sys.getsizeof(had) for word, had in self.having.items())
        texts = sum(sys.getsizeof(part.text) + _PART for part in self.passages)
        return texts + counts + sys.getsizeof(self.having) + sys.getsizeof(self.lengths)


def count(passages: Sequence[Part]) -> Counted:
    """Count the words of passages."""
    lengths = array("I")
    having: dict[str, array[int]] = {}
    for place, passage in enumerate(passages):
        counts = Counter(words(passage.text))
        lengths.append(counts.total())
        for word, often in counts.items():
            having.setdefault(word, array("I")).extend((place, often))
    return Counted(passages, lengths, having)


def by_words(question: str, counted: Iterable[Counted]) -> dict[int, float]:
    """What each passage is worth by the words of the question that it has; those without any are left out.

    Args:
        question: In any language.
        counted: Passages, by their place in all of these together.
    """
    counted = list(counted)
    of = sum(len(each.passages) for each in counted)
    average = max(1.0, sum(sum(each.lengths) for each in counted) / max(1, of))
    asked = [word for word in dict.fromkeys(words(question)) if word not in stop_words()] or words(question)
    worth: defaultdict[int, list[float]] = defaultdict(list)
    known_by = {word: sum(len(each.having.get(word, ())) for each in counted) // 2 for word in asked}
    start = 0
    for each in counted:
        for word in asked:
            had = each.having.get(word, ())
            for place, often in zip(had[::2], had[1::2], strict=True):
                length = each.lengths[place] / average
                worth[start + place].append(weight(often, known_by[word], of, length))
        start += len(each.passages)
    scores = {place: sum(worth[place]) for place in sorted(worth)}
    return {place: score for place, score in scores.items() if score > 0}

"""What differs between two texts, word by word: the one comparison behind every page that marks it.

How it is shown is the pages' matter. White space never differs: answers that break their lines elsewhere say the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

LONGEST_COMPARED = 60_000
"""Characters of each side."""
MOST_COMPARED = 3_000
"""Words of each side."""
MOST_WORK = 10_000_000
"""Pairs of words that are the same, times how often they may have to be looked for: beyond it comparing might take minutes,
and two models that go on and on about different things would hold up everybody's pages. Words that make up more than a
hundredth of a text are then no place to begin with."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORDS = re.compile(rf"\s*(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])|\s+")
"""Words, each with the space before it; a Chinese, Japanese or Korean character alone, which no spaces part."""

Piece = tuple[str, bool]
"""Text, and whether the other side has something else there."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two texts in pieces, which joined are the texts again."""

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    alike: float
    """Share of the words of both that are the same, 0 to 1."""


def compare(before: str, after: str) -> Compared | None:
    """Cut two texts into pieces that are the same and pieces that differ; None where they are too long for it."""
    if max(len(before), len(after)) > LONGEST_COMPARED:
        return None
    was: list[str] = _WORDS.findall(before)
    now: list[str] = _WORDS.findall(after)
    if max(len(was), len(now)) > MOST_COMPARED:
        return None
    words, others = [word.strip() for word in was], [word.strip() for word in now]
    matcher = SequenceMatcher(None, words, others, autojunk=_work(words, others) > MOST_WORK)
    left: list[Piece] = []
    right: list[Piece] = []
    same = 0
    for kind, a, b, c, d in matcher.get_opcodes():
        differs = kind != "equal"
        same += 0 if differs else sum(map(bool, words[a:b]))
        left += _piece(was[a:b], differs)
        right += _piece(now[c:d], differs)
    count = sum(map(bool, words)) + sum(map(bool, others))
    return Compared(before=tuple(left), after=tuple(right), alike=2 * same / count if count else 1.0)


def _piece(words: Sequence[str], differs: bool) -> Sequence[Piece]:
    text = "".join(words)
    return [(text, differs and not text.isspace())] if text else []


def _work(words: Sequence[str], others: Sequence[str]) -> int:
    """How much comparing takes at worst. What both begin and end with costs nothing much, and is left out."""
    shorter = min(len(words), len(others))
    head = next((place for place in range(shorter) if words[place] != others[place]), shorter)
    tail = next((place for place in range(shorter - head) if words[-1 - place] != others[-1 - place]), shorter - head)
    counts, others_counts = (Counter(each[head : len(each) - tail]) for each in (words, others))
    same = sum(count * others_counts[word] for word, count in counts.items())
    return same * (shorter - head - tail)

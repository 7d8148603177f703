"""Two texts next to each other, with what differs between them marked. Texts of models are hostile: all of it is escaped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from changeover.evals.report.words import visible

LONGEST_COMPARED = 60_000
"""Characters of each side; longer texts are shown as they are."""
MOST_COMPARED = 3_000
"""Words of each side, likewise."""
MOST_WORK = 10_000_000
"""Pairs of words that are the same, times how often they may have to be looked for: beyond it marking might take minutes, and
two models that go on and on about different things would hold up everybody's pages. Words that make up more than a hundredth
of a text are then no place to begin with."""
_WORDS = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
"""Each with the space before it: of two texts that have nothing in common, nothing but the spaces would be the same."""


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts; on the left what the right one has not (`del`), on the right what is new (`ins`)."""
    if max(len(before), len(after)) > LONGEST_COMPARED:
        return plainly(before, after)
    left, right = visible(before), visible(after)
    words, others = _WORDS.findall(left), _WORDS.findall(right)
    if max(len(words), len(others)) > MOST_COMPARED:
        return plainly(before, after)
    was: list[Markup] = []
    now: list[Markup] = []
    matcher = SequenceMatcher(None, words, others, autojunk=_work(words, others) > MOST_WORK)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            was.append(_text(words[a:b]))
            now.append(_text(others[c:d]))
            continue
        if b > a:
            was.append(Markup("<del>{}</del>").format("".join(words[a:b])))
        if d > c:
            now.append(Markup("<ins>{}</ins>").format("".join(others[c:d])))
    return Markup("").join(was), Markup("").join(now)


def _work(words: Sequence[str], others: Sequence[str]) -> int:
    """How much comparing takes at worst. What both begin and end with costs nothing much, and is left out."""
    shorter = min(len(words), len(others))
    head = next((place for place in range(shorter) if words[place] != others[place]), shorter)
    tail = next((place for place in range(shorter - head) if words[-1 - place] != others[-1 - place]), shorter - head)
    counts, others_counts = (Counter(each[head : len(each) - tail]) for each in (words, others))
    same = sum(count * others_counts[word] for word, count in counts.items())
    return same * (shorter - head - tail)


def plainly(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts without marks."""
    return Markup(escape(visible(before))), Markup(escape(visible(after)))


def _text(words: Iterable[str]) -> Markup:
    return Markup(escape("".join(words)))

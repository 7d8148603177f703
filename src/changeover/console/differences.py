"""Two texts next to each other, with what differs between them marked. Texts of models are hostile: all of it is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from changeover.evals.report.words import visible

MOST_COMPARED = 3_000
"""Words of each side; longer texts are shown as they are: marking them takes seconds."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts; on the left what the right one has not (`del`), on the right what is new (`ins`)."""
    left, right = visible(before), visible(after)
    words, others = _WORDS.findall(left), _WORDS.findall(right)
    if len(words) > MOST_COMPARED or len(others) > MOST_COMPARED:
        return plainly(before, after)
    was: list[Markup] = []
    now: list[Markup] = []
    for kind, a, b, c, d in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if kind == "equal":
            was.append(_text(words[a:b]))
            now.append(_text(others[c:d]))
            continue
        if b > a:
            was.append(Markup("<del>{}</del>").format("".join(words[a:b])))
        if d > c:
            now.append(Markup("<ins>{}</ins>").format("".join(others[c:d])))
    return Markup("").join(was), Markup("").join(now)


def plainly(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts without marks."""
    return Markup(escape(visible(before))), Markup(escape(visible(after)))


def _text(words: Iterable[str]) -> Markup:
    return Markup(escape("".join(words)))

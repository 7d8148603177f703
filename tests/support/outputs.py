"""What a page shows of a command's output, beside what was printed: the words are the same, figures may be others."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

ALIKE = 0.8
"""Share of a line's words that are the same, at least."""
_FIGURE = re.compile(r"[0-9a-f]{12,}|\d[\d,.]*")
_UNIT = re.compile(r"0 (?:bytes|[KMGT]i?B|ms|s|m)\b")


def unlike(shown: str, said: str) -> list[str]:
    """The lines of a page that nothing printed is like. Where a line ends with `…`, what follows may be anything."""
    printed = [_words(line) for line in said.splitlines()]
    return [line for line in shown.splitlines() if line.strip(" …") and not any(_alike(line, each) for each in printed)]


def _alike(line: str, printed: list[str]) -> bool:
    words = _words(line)
    if "…" in words:
        words = words[: words.index("…")]
        printed = printed[: len(words)]
    return SequenceMatcher(None, words, printed, autojunk=False).ratio() >= ALIKE


def _words(line: str) -> list[str]:
    return _UNIT.sub("0 B", _FIGURE.sub("0", line)).replace("…", " … ").split()

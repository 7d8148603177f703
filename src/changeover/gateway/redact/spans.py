"""What a rule reads and what it gives: a text in one spelling, and places in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

Span = tuple[int, int, str]
"""Start, end and label of something to mask."""
Rule = Callable[["Text"], Iterator[Span]]

NO_WORD = r"(?<![A-Za-z0-9])"
"""A word begins here. ASCII on purpose: Japanese writes no spaces around an address."""
NO_MORE = r"(?![A-Za-z0-9])"

LAST_DIGIT = 0x1FC00
"""No script has digits from here on."""


BEFORE, BETWEEN, BEHIND = 90, 80, 40
"""Characters around a digit in which rules about numbers look: words that say what a number is stand close to it."""
_DIGITS = re.compile(rf"[0-9](?:[^0-9]{{0,{BETWEEN}}}+[0-9]++)*+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """One text, each character in its plainest form, so that one pattern finds every spelling."""

    plain: str
    """As long as the original: digits of all scripts are ASCII's, and so are spaces, dashes and full-width letters."""
    lower: str
    """The same in lower case, as long."""
    windows: tuple[tuple[int, int], ...]
    """Where digits are, with what stands around them, in order and apart: most texts have few."""

    @staticmethod
    def of(text: str) -> Text:
        plain = text if text.isascii() else text.translate(_plain_forms())
        lower = plain.lower()
        if len(lower) != len(plain):  # a letter or two become two in lower case, such as the Turkish dotted I
            lower = "".join(low if len(low := each.lower()) == 1 else each for each in plain)
        return Text(plain, lower, tuple(_windows(plain)))

    def near_digits(self, pattern: re.Pattern[str], *, lower: bool = False) -> Iterator[re.Match[str]]:
        """Each match of a pattern for numbers."""
        text = self.lower if lower else self.plain
        for start, end in self.windows:
            yield from pattern.finditer(text, start, end)


def every(pattern: re.Pattern[str], text: str, label: str, group: int | str = 0) -> Iterator[Span]:
    """Each match of a pattern, or one group of it."""
    for match in pattern.finditer(text):
        yield (*match.span(group), label)


def any_of(*words: str) -> str:
    """A pattern for one of several words, each a pattern itself, where a word begins."""
    return f"{NO_WORD}(?:{'|'.join(words)})"


def _windows(text: str) -> Iterator[tuple[int, int]]:
    last = 0
    for match in _DIGITS.finditer(text):
        start, end = max(match.start() - BEFORE, last), min(match.end() + BEHIND, len(text))
        last = end
        yield start, end


@lru_cache(maxsize=1)
def _plain_forms() -> dict[int, str]:
    forms = {code: " " for code in (0xA0, 0x3000, *range(0x2000, 0x200B), 0x202F, 0x205F)}
    forms |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")
    forms |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
    for code in range(0x80, LAST_DIGIT):
        if unicodedata.category(chr(code)) == "Nd":
            forms[code] = str(unicodedata.decimal(chr(code)))
    return forms

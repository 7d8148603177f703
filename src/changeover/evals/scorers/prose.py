"""Words, sentences and lines of a text, as scorers count them."""

from __future__ import annotations

import math
import re

CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
"""Characters of Chinese and Japanese, for use inside a character class: words are not spaced there."""

CJK_CHARACTERS_PER_WORD = 2.0
"""What translators reckon with between Japanese and English: 1,000 characters, some 400 to 500 words."""

LIST_MARK = re.compile(r"^[ \t*#>-]*[0-9]{1,2}[.)](?=[\s*])", re.MULTILINE)
"""The number that begins an item of a numbered list."""

_CJK_CHARACTER = re.compile(f"[{CJK}]")
_WORD = re.compile(rf"[^\s{CJK}]+")
_NO_MARK = re.compile(r"[^\W_]")
_SENTENCE_END = re.compile(
    "(?<=[.!?\u2026])['\"\u2019\u201d)\\]*]*\\s+(?=['\"\u2018\u201c(\\[*]*[^\\W\\d_a-z])|(?<=[\u3002\uff01\uff1f])|\n"
)
"""A mark and white space before what can begin a sentence; in Japanese and Chinese the mark is enough."""


def count_words(text: str, cjk_characters_per_word: float = CJK_CHARACTERS_PER_WORD) -> int:
    """How many words a text has, rounded up: what white space separates, and Chinese and Japanese by their length.

    Marks that stand alone are no words.
    """
    words = sum(1 for word in _WORD.findall(text) if _NO_MARK.search(word))
    return words + math.ceil(len(_CJK_CHARACTER.findall(text)) / cjk_characters_per_word)


def sentences(text: str) -> list[str]:
    """The sentences of a text. A line ends one too; `1.5`, `approx. 12` and `e.g. this` do not.

    >>> sentences("Sales rose to 1.5 m, e.g. in Osaka. Margins fell.")
    ['Sales rose to 1.5 m, e.g. in Osaka.', 'Margins fell.']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if _NO_MARK.search(part)]


def lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()]

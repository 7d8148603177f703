"""Texts as the words that are compared: of any language, without knowing which one it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

STEM: Final = 6
"""Letters of a word that are compared. Endings differ by language and number; beginnings tell words apart."""
_ENDING = re.compile(r"(?<=[a-z]{3})(ing|ed|es|en|er|s|n|e)$")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_RUNS = re.compile(
    r"(?P<han>[\u3400-\u9fff々]+)|(?P<kana>[\u30a0-\u30ff]+)|(?P<hiragana>[\u3040-\u309f]+)|(?P<hangul>[\uac00-\ud7a3]+)"
    r"|(?P<word>[^\W_]+(?:\.\d+[^\W_]*)*)"
)
_SHORTEST = {"han": 1, "kana": 2, "hiragana": 3, "hangul": 1}
"""Shorter runs say nothing: particles, mostly."""


def words(text: str) -> list[str]:
    """The words of a text, each in the form that is compared, in order.

    Languages with spaces: the beginning of each word without its ending and its accents. Chinese, Japanese, Korean:
    each two characters beside each other.

    >>> words("Reading the invoices")
    ['read', 'the', 'invoic']
    >>> words("請求書を読む")
    ['請求', '求書', '読']
    """
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())))
    return list(_words(unicodedata.normalize("NFKC", plain)))


def _words(text: str) -> Iterator[str]:
    for found in _RUNS.finditer(text):
        kind, run = str(found.lastgroup), found.group()
        if kind == "word":
            if len(run) > 1:  # a letter or a digit alone is in everything
                yield _stem(run)
        elif len(run) < _SHORTEST[kind]:
            continue
        elif len(run) == 1:
            yield run
        else:
            yield from (run[place : place + 2] for place in range(len(run) - 1))


def _stem(word: str) -> str:
    # Names and versions (`qwen3`, `3d`, `p800`) mean something to their last character.
    return word if any(character.isdigit() for character in word) else _ENDING.sub("", word)[:STEM]

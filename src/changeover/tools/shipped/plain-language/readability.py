# ruff: noqa: RUF001 - quotation marks, and Japanese
"""How readable a text is, by counting; the same for the tool, which reports it, and for the task's score.

Three things are counted, in any language: words in a sentence (of Chinese and Japanese, two characters are a word), the share
of long words (more than 11 letters), and the most words that any sentence has.
"""

import re
import unicodedata
from typing import Any

LONG_WORD = 12
"""Letters."""
EASY, HARD = 15.0, 30.0
"""Words in a sentence: at the first or below a text reads easily, at the second or above only specialists go on."""

_CJK = re.compile(r"[\u3005-\u3007\u3040-\u30ff\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[*-]*[^\W\d_a-z])|(?<=[。！？])|\n+")
_WORD = re.compile(r"[^\W_]+(?:[-'’.,][^\W_]+)*")
_NAME = re.compile(r"(?<=[a-zà-ÿ0-9,;] )(?:[A-ZÀ-Ý][a-zà-ÿ]+(?: [A-ZÀ-Ý][a-zà-ÿ]+)+)")
_FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")


def measure(text: str) -> dict[str, Any]:
    """Count a text: `words_per_sentence`, `longest_sentence`, `long_words` (share, 0 to 1)."""
    lengths = [count for count in (_count(sentence) for sentence in _SENTENCE_END.split(text)) if count]
    words: list[str] = _WORD.findall(_CJK.sub(" ", text))
    long = sum(sum(map(str.isalpha, word)) >= LONG_WORD for word in words)
    return {
        "words_per_sentence": round(sum(lengths) / len(lengths), 1) if lengths else 0.0,
        "longest_sentence": max(lengths, default=0),
        "long_words": round(long / len(words), 3) if words else 0.0,
    }


def compare(before: str, after: str) -> dict[str, Any]:
    """Measure both texts, and list the figures and names of the first that the second lacks."""
    said, figures = _folded(after), set(_FIGURE.findall(after))
    missing: list[str] = [figure for figure in _FIGURE.findall(before) if figure not in figures]
    missing += [name for name in _names(before) if _folded(name) not in said]
    return {"before": measure(before), "after": measure(after), "missing": list(dict.fromkeys(missing))[:50]}


def score(answer: Any, sample: Any) -> float:
    """How easily an answer reads, 0 to 1: by its words in a sentence and, half as much, its longest sentence."""
    del sample
    found = measure(answer.text)
    if not found["words_per_sentence"]:
        return 0.0
    usual = _falling(found["words_per_sentence"], EASY, HARD)
    longest = _falling(found["longest_sentence"], 1.5 * EASY, 1.5 * HARD)
    return (2 * usual + longest) / 3


def _names(text: str) -> list[str]:
    return [found.group() for found in _NAME.finditer(text)]


def _falling(value: float, best: float, worst: float) -> float:
    return max(0.0, min(1.0, (worst - value) / (worst - best)))


def _count(sentence: str) -> int:
    return len(_WORD.findall(_CJK.sub(" ", sentence))) + (len(_CJK.findall(sentence)) + 1) // 2


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()

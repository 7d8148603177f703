# ruff: noqa: RUF001 - Japanese
"""Finds promises in a reply that its writer was not told to make. It knows words, not meanings: a person still reads the reply."""

import re
import unicodedata
from typing import Any

PROMISES = (
    ("refund", "reimburs", "money back", "erstatt", "rembours", "reembols", "返金", "払い戻"),
    ("discount", "reduced price", "rabatt", "preisnachlass", "remise", "réduction", "descuento", "割引", "値引"),
    ("compensat", "goodwill", "entschädig", "kulanz", "dédommag", "indemni", "compensa", "補償", "お詫びの品"),
    ("voucher", "gift card", "gutschein", "bon d'achat", "cheque regalo", "クーポン", "商品券"),
    (
        "free of charge",
        "for free",
        "at no cost",
        "kostenlos",
        "kostenfrei",
        "gratuit",
        "gratis",
        "sin coste",
        "無料",
        "無償",
    ),
    ("guarantee", "garantier", "garanti", "garantiz", "保証"),
    ("waive", "erlassen", "verzichten auf die gebühr", "免除"),
    ("upgrade", "hochstufen", "surclass", "アップグレード"),
)
"""Each line is one promise in several languages: who was told to make it may word it in any of them."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|(?<=\n)")


def without_promises(reply: str, say: str) -> dict[str, Any]:
    """Leave out sentences that promise what `say` does not speak of.

    Args:
        reply: As the model wrote it.
        say: What the reply was to say. What the e-mail asks for is no reason to promise it.
    """
    told = _folded(say)
    open_to = [words for words in PROMISES if not any(word in told for word in words)]
    kept: list[str] = []
    left_out: list[str] = []
    for sentence in _SENTENCE_END.split(reply):
        text = _folded(sentence)
        if any(word in text for words in open_to for word in words) and not _denies(text):
            left_out.append(sentence.strip())
        else:
            kept.append(sentence)
    return {"reply": _joined(kept), "left_out": left_out}


def _denies(text: str) -> bool:
    """Whether the sentence says that something is not given: no promise."""
    return (
        re.search(r"\b(?:no|not|cannot|can't|unable|nicht|kein\w*|pas|aucun\w*|ningún|ninguna)\b|ません|できかね", text)
        is not None
    )


def _joined(sentences: list[str]) -> str:
    text = ""
    for sentence in sentences:
        needs_space = text and not text.endswith(("\n", "。", "！", "？")) and sentence[:1].strip()
        text += (" " if needs_space else "") + sentence
    return text.strip()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()

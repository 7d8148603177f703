"""Finds what must not leave the house: names of hosts, addresses, and the people that tickets name."""

from __future__ import annotations

import re

_ADDRESSES = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b"  # 10.2.0.17
    r"|\b(?!(?:help|info|service|support|contact|kontakt|hilfe|ayuda|aide)@)[\w.+-]+@[\w-]+\.[\w.-]*\w"  # anna@house.example
    r"|(?<![\w.])(?:[\w-]+\.)+(?:internal|intranet|local|lan|corp|intra)\b"  # db1.house.internal
    r"|(?<!\w)(?=[a-z0-9-]*[a-z])(?=[a-z0-9-]*\d)[a-z0-9]+(?:-[a-z0-9]+)+(?![\w-])"  # pay-gw-02
    r"|(?<!\w)[a-z]{2,}\d{1,4}(?!\w)"  # srv14
    r"|(?<![\w.])@\w+"  # @marta
)
_WIDE_COLON, _WIDE_BRACKETS = "\uff1a", "\uff08\uff09"
_PERSON = re.compile(
    r"(?:\b(?:opened|reported|raised|assigned)(?: \d\d:\d\d)? (?:by|to)\b|\b(?:gemeldet|erfasst) von\b|\bsignalé par\b"
    r"|\b(?:reportado por|asignado a)\b|\bupdate \(|(?:\b(?:reporter|assignee|owner|author|caller|on[- ]call|bearbeiter(?:in)?"
    rf"|melder(?:in)?|zuständig|responsable|technicien(?:ne)?|técnico)|担当者?|報告者|起票者?)\s*(?=[:{_WIDE_COLON}]))"
    rf"\s*[:{_WIDE_COLON}]?\s*(?P<name>[^\W\d_][^\n,;:()|/。、{_WIDE_BRACKETS}\d]{{1,40}})",
    re.IGNORECASE,
)
_PASSED_OVER = frozenset({
    "dr", "frau", "herr", "madame", "mme", "monsieur", "mr", "mrs", "ms", "señor", "señora", "sr", "sra", "team",
    "da", "de", "del", "den", "der", "di", "la", "van", "von", "zu",
})  # fmt: skip
"""Before names, and within them."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。!?])|\n+")


def internals(tickets: str, never: list[str]) -> list[str]:
    """Everything in the tickets that is internal, and what is said to be."""
    found = dict.fromkeys(match[0] for match in _ADDRESSES.finditer(tickets))
    for match in _PERSON.finditer(tickets):
        for name in match["name"].split()[:6]:
            word = name.strip(".-さん様")
            if word[:1] == word[:1].upper() and len(word) >= 2 and word.lower() not in _PASSED_OVER:
                found[word] = None
            elif word.lower() not in _PASSED_OVER:
                break
    return [*found, *(word for word in never if word.strip())]


def problem(value: str, source: tuple[str, list[str]]) -> str | None:
    """What is internal in a note; None if nothing is.

    Args:
        value: The note.
        source: The tickets, and words that must not appear.
    """
    tickets, never = source
    leaked = [each for each in internals(tickets, never) if _stands(each, value)]
    return f"customers must not read: {', '.join(leaked)}. Write the note without" if leaked else None


def without(note: str, tickets: str, never: list[str]) -> dict[str, object]:
    """The note without sentences that hold something internal, and how many they were."""
    hidden = internals(tickets, never)
    sentences = [sentence.strip() for sentence in _SENTENCE.split(note.strip()) if sentence.strip()]
    kept = [sentence for sentence in sentences if not any(_stands(each, sentence) for each in hidden)]
    wide = bool(re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", note))
    return {"note": ("" if wide else " ").join(kept), "left_out": len(sentences) - len(kept)}


def _stands(word: str, text: str) -> bool:
    if re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", word):
        return word in text
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None

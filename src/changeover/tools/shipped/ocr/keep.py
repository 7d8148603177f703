"""Keeps what was recognised: a tidied part counts only where it has the same characters in the same order."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE)
"""What Markdown puts before a heading: a tidied text may have it."""


def keep(pages: list[dict[str, Any]], parts: list[dict[str, Any]], tidied: list[str]) -> dict[str, Any]:
    """The text of all parts, tidied where that changed no word, else as it was recognised."""
    kept = [
        (part, text.strip()) if same_words(part["text"], text) else (part, None)
        for part, text in zip(parts, tidied, strict=True)
    ]
    by_page: dict[int, list[str]] = {page["number"]: [] for page in pages}
    for part, text in kept:
        by_page[(part["pages"] or [1])[0]].append(part["text"] if text is None else text)
    confidences = [page["confidence"] for page in pages if page.get("confidence") is not None]
    return {
        "text": "\n\n".join(text for texts in by_page.values() for text in texts),
        "pages": [
            {"page": page["number"], "text": "\n\n".join(by_page[page["number"]]), "confidence": page.get("confidence")}
            for page in pages
        ],
        "confidence": min(confidences, default=None),
        "parts_tidied": sum(text is not None for _, text in kept),
    }


def same_words(recognised: str, tidied: str) -> bool:
    """Whether two texts differ in breaks alone: space, the hyphen at a line's end, marks of headings."""
    pieces = re.split(r"(-\s*\n\s*)|\s+", unicodedata.normalize("NFC", recognised.strip()))
    pattern = "".join(
        "-?" if piece.startswith("-") and "\n" in piece else re.escape(piece) for piece in pieces if piece
    )
    bare = re.sub(r"\s+", "", HEADING.sub("", unicodedata.normalize("NFC", tidied)))
    return re.fullmatch(pattern, bare) is not None

"""What changed between two documents, found without a model: paragraphs are matched, then words within them."""

import difflib
import re
import unicodedata
from itertools import zip_longest
from typing import Any

ALIKE = 0.5
"""Share of their words from which on a removed and an added paragraph are one that was changed."""
MOST = 60
"""Changes that are told of."""
MOST_CHARS = 1_500
"""Of one side of a change."""

Placed = tuple[str, int | None]
"""A paragraph and its page."""

_FIGURE = re.compile(r"\d+(?:[.,:/-]\d+)*(?:\s?(?:%|per cent|percent|Prozent|パーセント))?")
_WORD = re.compile(r"\w+|[^\w\s]")


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """List the changes in their order.

    Args:
        old: The earlier document as it was read, with its pages.
        new: The later one.

    Returns:
        Objects with `kind` (added, removed, changed), `old`, `new` (texts; empty where there is none), `old_page`, `new_page`
        (numbers, or None) and `figures`, a list of pairs.
    """
    before, after = _paragraphs(old), _paragraphs(new)
    texts = [[_plain(text) for text, _ in side] for side in (before, after)]
    matcher = difflib.SequenceMatcher(a=texts[0], b=texts[1], autojunk=False)
    found: list[dict[str, Any]] = []
    for op, i, k, j, m in matcher.get_opcodes():
        if op != "equal":
            found += _between(before[i:k], after[j:m])
    return found[:MOST]


def told(found: list[dict[str, Any]], said: list[str]) -> list[dict[str, Any]]:
    """Join changes with their sentences. One with a figure that the change does not have, or none, is replaced."""
    joined: list[dict[str, Any]] = []
    for change, sentence in zip(found, said, strict=True):
        text = " ".join(str(sentence).split())
        known = set(_numbers(change["old"] + " " + change["new"]))
        if not text or len(text) > 600 or not set(_numbers(text)) <= known:
            text = _bare(change)
        joined.append({**change, "says": text})
    return joined


def _between(removed: list[Placed], added: list[Placed]) -> list[dict[str, Any]]:
    """Changes of a stretch that differs: paragraphs that are alike are one that was changed, in their order."""
    found: list[dict[str, Any]] = []
    left = list(added)
    for text, page in removed:
        place = next((n for n, (other, _) in enumerate(left) if _alike(text, other)), None)
        if place is None:
            found.append(_change("removed", text, "", page, None))
            continue
        found += [_change("added", "", other, None, where) for other, where in left[:place]]
        other, where = left[place]
        found.append(_change("changed", text, other, page, where))
        left = left[place + 1 :]
    return found + [_change("added", "", other, None, where) for other, where in left]


def _change(kind: str, old: str, new: str, old_page: int | None, new_page: int | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "old": old[:MOST_CHARS],
        "new": new[:MOST_CHARS],
        "old_page": old_page,
        "new_page": new_page,
        "figures": _figures(old, new) if kind == "changed" else [],
    }


def _figures(old: str, new: str) -> list[dict[str, str | None]]:
    """Figures and dates that are others now, side by side as far as they stand in the same place."""
    before: list[str] = _FIGURE.findall(old)
    after: list[str] = _FIGURE.findall(new)
    pairs: list[dict[str, str | None]] = []
    for op, i, k, j, m in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if op == "equal":
            continue
        beside = zip_longest(before[i:k], after[j:m])
        pairs += [{"old": one, "new": other} for one, other in beside]
    return pairs


def _bare(change: dict[str, Any]) -> str:
    """The words that changed, without a model."""
    if not change["old"]:
        return f"Added: “{_short(change['new'])}”"
    if not change["new"]:
        return f"Removed: “{_short(change['old'])}”"
    return f"“{_short(change['old'])}” became “{_short(change['new'])}”"


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " …"


def _paragraphs(document: dict[str, Any]) -> list[Placed]:
    """Paragraphs with their pages; lines that a PDF broke belong together."""
    found: list[Placed] = []
    for page in document["pages"]:
        for block in re.split(r"\n\s*\n", page["text"]):
            text = " ".join(block.split())
            if text:
                found.append((text, page["number"] if len(document["pages"]) > 1 else None))
    return found


def _alike(one: str, other: str) -> bool:
    words: list[list[str]] = [_WORD.findall(_plain(text)) for text in (one, other)]
    return difflib.SequenceMatcher(a=words[0], b=words[1], autojunk=False).ratio() >= ALIKE


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", _plain(text))

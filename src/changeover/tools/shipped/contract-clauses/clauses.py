"""Numbers the sentences of a contract, and quotes those that a model points at."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

KINDS = (
    "term",
    "termination",
    "liability",
    "governing-law",
    "payment",
    "confidentiality",
    "data-protection",
    "assignment",
)
"""As in the task's schema: a further kind is added there and in its prompt, too."""

_HEADING = re.compile(
    r"^[ \t]*(?:\d+(?:\.\d+)*\.?[ \t]+(?=[A-ZÀ-Ý])|§ ?\d+|(?:Article|Artikel|Section|Clause) \d+)[^\n.,;:。]{0,60}$",
    re.MULTILINE,
)
"""A line by itself that begins with a number; one that a PDF broke before `30 days` is none."""
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+(?=[\"“„(\[]*[A-ZÀ-Ý0-9(])|(?<=[。])|\n\s*\n")
_NO_END = re.compile(
    r"(?:\b(?:No|Nos|Art|Ltd|Inc|Co|Mr|Ms|Dr|Nr|Abs|Sec|cf|e\.g|i\.e|z\.B)\.|^\s*(?:\d+(?:\.\d+)*\.?|\([a-z]\)))$"
)


def numbered(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cut each part into sentences: objects with `text`, which a model reads, and `sentences`, with their pages."""
    return [_numbered(part) for part in parts]


def quoted(numbered: list[dict[str, Any]], pointed: list[dict[str, Any]], kinds: list[str]) -> dict[str, Any]:
    """Quote what was pointed at, by kind and then in the contract's order. Numbers that no sentence has are passed over."""
    wanted = [kind for kind in KINDS if not kinds or kind in kinds]
    found: list[dict[str, Any]] = []
    for part, answer in zip(numbered, pointed, strict=True):
        for pointer in answer["found"]:
            place = pointer["sentence"] - 1
            if pointer["kind"] in wanted and 0 <= place < len(part["sentences"]):
                found.append({"kind": pointer["kind"], **part["sentences"][place]})
    once = [clause for place, clause in enumerate(found) if clause not in found[:place]]
    return {"clauses": sorted(once, key=lambda clause: wanted.index(clause["kind"]))}


def missing(clauses: list[dict[str, Any]], kinds: list[str]) -> list[str]:
    """Kinds of which nothing was found."""
    found = {clause["kind"] for clause in clauses}
    return [kind for kind in KINDS if (not kinds or kind in kinds) and kind not in found]


def _numbered(part: dict[str, Any]) -> dict[str, Any]:
    sentences = _sentences(part["text"])
    return {
        "text": "\n".join(f"[{number}] {' '.join(text.split())}" for number, (text, _) in enumerate(sentences, 1)),
        "sentences": [{"quote": text, "page": _page(part, start)} for text, start in sentences],
    }


def _page(part: dict[str, Any], start: int) -> int:
    """The page on which what begins at a place of a part stands."""
    begun = [page for page, begins in zip(part["pages"], part["starts"], strict=False) if begins <= start]
    return begun[-1] if begun else (part["pages"] or [1])[0]


def _sentences(text: str) -> list[tuple[str, int]]:
    """The sentences of a text, each as it stands there, with its place. A heading is one by itself."""
    cuts = sorted({0, len(text), *(place for heading in _HEADING.finditer(text) for place in heading.span())})
    return [sentence for start, end in pairwise(cuts) for sentence in _between(text, start, end)]


def _between(text: str, start: int, stop: int) -> Iterator[tuple[str, int]]:
    """Those of a stretch. An abbreviation or a number ends none."""
    for end in [*(match.start() for match in _SENTENCE_END.finditer(text, start, stop)), stop]:
        piece = text[start:end]
        if piece.strip() and (end == stop or not _NO_END.search(piece)):
            yield piece.strip(), start + len(piece) - len(piece.lstrip())
            start = end

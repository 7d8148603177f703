"""Reads a glossary's rows, looks which terms and figures a translation has, and takes the better of two translations.

It counts; it does not judge.
"""

import re
import unicodedata
from typing import Any

_SCALE = r"[千万億兆]|(?:thousand|tausend|mil|mille|mill(?:iard|i?on|ón)\w*|billion\w*)\b"
_FIGURE = re.compile(rf"\d+(?:[.,\u00a0\u202f]\d+)*(?:\s?(?:{_SCALE}))?")
_PIECE = 5
"""Characters of the pieces by which a text is known again."""
_COPIED = 0.5
"""Share of the pieces of a text from which on its translation is none: names and figures are less."""
_SHORT = 0.5
"""Share of the length of a translation below which another one has left something out."""


def pairs(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A term and its translation of each row: its first and second column."""
    found: list[dict[str, str]] = []
    for row in rows:
        cells = [str(cell).strip() for cell in row.values()]
        if len(cells) > 1 and cells[0] and cells[1]:
            found.append({"source": cells[0], "target": cells[1]})
    return found


def kept(parts: list[dict[str, Any]], translations: list[str], terms: list[dict[str, str]]) -> dict[str, Any]:
    """Say of each term whether the translation has it, and which figures of a part the translation of that part has not.

    An ending may be added to a term, as in `Kontoauszug` and `Kontoauszugs`. A figure is known by its digits alone: 1.5 is 1,5,
    3万 is 30,000, and 3 in the afternoon may be 15.

    Args:
        parts: Objects with `text`, in their order.
        translations: Of each.
        terms: As `pairs` gives them, of the whole text.
    """
    translation = "\n\n".join(translations)
    said = _folded(translation)
    pairs = zip(parts, translations, strict=True)
    missing = (figure for part, translated in pairs for figure in _missing_figures(part["text"], translated))
    return {
        "translation": translation,
        "terms": [{**term, "used": _folded(term["target"]) in said} for term in terms],
        "missing_figures": list(dict.fromkeys(missing)),
    }


def lacking(parts: list[dict[str, Any]], drafts: list[str], terms: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The parts whose translation lost a figure, or a term that the whole translation lacks, each with what is `lost`."""
    gone = [term for term in kept(parts, drafts, terms)["terms"] if not term["used"]]
    found: list[dict[str, Any]] = []
    for index, (part, draft) in enumerate(zip(parts, drafts, strict=True)):
        text = _folded(part["text"])
        lost = [f"{term['source']} = {term['target']}" for term in gone if _folded(term["source"]) in text]
        lost += _missing_figures(part["text"], draft)
        if lost:
            found.append({"index": index, "text": part["text"], "lost": lost})
    return found


def better(
    drafts: list[str], lacking: list[dict[str, Any]], again: list[str], terms: list[dict[str, str]]
) -> list[str]:
    """The drafts, each part that was translated again by whichever of both translations lacks less.

    A second one that gives the text back, or only what was asked for, is none.

    Args:
        drafts: The first translation of each part.
        lacking: The parts that were translated again, as the function of this name gives them.
        again: The second translation of each of these.
        terms: As `pairs` gives them, of the whole text.
    """
    chosen = list(drafts)
    for part, second in zip(lacking, again, strict=True):
        index: int = part["index"]
        text, first = part["text"], drafts[index]
        whole = len(second) >= _SHORT * len(first) and _copied(text, second) <= max(_COPIED, _copied(text, first))
        if whole and _lost(text, second, terms) < _lost(text, first, terms):
            chosen[index] = second
    return chosen


def complaint(kept: dict[str, Any]) -> str | None:
    """What is missing, for people; None: nothing."""
    terms = [term["target"] for term in kept["terms"] if not term["used"]]
    missing = [f"the term `{term}`" for term in terms] + [f"the figure {figure}" for figure in kept["missing_figures"]]
    return f"the translation lacks {', '.join(missing)}" if missing else None


def _lost(text: str, translation: str, terms: list[dict[str, str]]) -> int:
    """How many terms and figures of a text its translation has not."""
    folded, said = _folded(text), _folded(translation)
    lost = [term for term in terms if _folded(term["source"]) in folded and _folded(term["target"]) not in said]
    return len(lost) + len(_missing_figures(text, translation))


def _missing_figures(text: str, translation: str) -> list[str]:
    said = [found.group() for found in _FIGURE.finditer(_folded(translation))]
    every = dict.fromkeys(found.group() for found in _FIGURE.finditer(_folded(text)))
    return [figure for figure in every if not any(_same(figure, other) for other in said)]


def _copied(text: str, translation: str) -> float:
    """The share of a text that stands in its translation as it was."""
    folded, said = _folded(text), _folded(translation)
    pieces = {folded[start : start + _PIECE] for start in range(max(1, len(folded) - _PIECE + 1))}
    return sum(piece in said for piece in pieces) / len(pieces)


def _same(figure: str, other: str) -> bool:
    """Whether two figures may be one, in the forms of two languages."""
    one, two = re.sub(r"\D", "", figure), re.sub(r"\D", "", other)
    if not (figure[-1].isdigit() and other[-1].isdigit()):  # 3万 is 30,000
        return one.rstrip("0") == two.rstrip("0")
    hours = len(one) <= 2 and len(two) <= 2 and abs(int(one) - int(two)) == 12
    return one == two or hours


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

"""Reads a glossary's rows, and looks which terms and figures a translation has. It counts; it does not judge."""

import re
import unicodedata
from typing import Any

_FIGURE = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")


def pairs(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A term and its translation of each row: its first and second column."""
    found: list[dict[str, str]] = []
    for row in rows:
        cells = [str(cell).strip() for cell in row.values()]
        if len(cells) > 1 and cells[0] and cells[1]:
            found.append({"source": cells[0], "target": cells[1]})
    return found


def kept(text: str, translation: str, terms: list[dict[str, str]]) -> dict[str, Any]:
    """Say of each term whether the translation has it, and which figures of the text it has not.

    An ending may be added to a term, as in `Kontoauszug` and `Kontoauszugs`. A figure is known by its digits alone: 1.5 is 1,5,
    and 3 in the afternoon may be 15.
    """
    said = _folded(translation)
    figures = {_digits(figure.group()) for figure in _FIGURE.finditer(said)}
    return {
        "translation": translation,
        "terms": [{**term, "used": _folded(term["target"]) in said} for term in terms],
        "missing_figures": [
            figure
            for figure in dict.fromkeys(found.group() for found in _FIGURE.finditer(_folded(text)))
            if not _stands(figure, figures)
        ],
    }


def complaint(kept: dict[str, Any]) -> str | None:
    """What is missing, for people; None: nothing."""
    terms = [term["target"] for term in kept["terms"] if not term["used"]]
    missing = [f"the term `{term}`" for term in terms] + [f"the figure {figure}" for figure in kept["missing_figures"]]
    return f"the translation lacks {', '.join(missing)}" if missing else None


def _stands(figure: str, figures: set[str]) -> bool:
    digits = _digits(figure)
    hour = int(digits) if len(digits) <= 2 else None
    others = () if hour is None else (str(hour + 12), str(hour - 12))
    return digits in figures or any(other in figures for other in others)


def _digits(figure: str) -> str:
    return re.sub(r"\D", "", figure)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

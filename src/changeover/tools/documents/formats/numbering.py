"""Numbers and bullets that Word draws before paragraphs and does not store: `2.1`, `(a)`, `-`."""

from __future__ import annotations

import re
from typing import Any

from docx.oxml.ns import qn

_PLACE = re.compile(r"%(\d)")
_DEEPEST = 9
_MOST = 100_000


class Numbering:
    """Counts the paragraphs of each list, as Word does when it lays them out."""

    def __init__(self, document: Any) -> None:
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, list[int]] = {}
        self._styles: dict[str, Any] = {each.style_id: each for each in document.styles}
        part = next((each.target_part for each in document.part.rels.values() if _is_numbering(each)), None)
        if part is not None:
            self._learn(part.element)

    def mark(self, paragraph: Any) -> str:
        """What stands before a paragraph: `# ` of a heading, its number, a dash; indented by its level."""
        style = self._styles.get(_value(paragraph, "w:pPr/w:pStyle") or "")
        name = (style.name or "") if style is not None else ""
        level, number = self._place(paragraph, style)
        heading = re.fullmatch(r"(?i)heading ([1-6])", name)
        counted = self._counted(number, level) if number not in {None, "0"} else ""
        if heading is not None:
            return "#" * int(heading[1]) + " " + (f"{counted} " if counted not in {"", "-"} else "")
        if name == "Title":
            return "# "
        if not counted:
            return ""
        return "  " * level + counted + " "

    def _place(self, paragraph: Any, style: Any) -> tuple[int, str | None]:
        """Level and list of a paragraph, its own or its style's."""
        for properties in (paragraph.pPr, *_inherited(style)):
            if properties is None:
                continue
            number = _value(properties, "w:numPr/w:numId")
            if number is not None:
                level = _value(properties, "w:numPr/w:ilvl") or "0"
                return min(int(level), _DEEPEST - 1) if level.isdigit() else 0, number
        return 0, None

    def _counted(self, number: str | None, level: int) -> str:
        levels = self._levels.get(number or "", {})
        form, pattern, start = levels.get(level, ("bullet", "", 1))
        counts = self._counts.setdefault(number or "", [0] * _DEEPEST)
        counts[level] = min(counts[level] + 1 if counts[level] else start, _MOST)
        counts[level + 1 :] = [0] * (_DEEPEST - level - 1)
        if form in {"bullet", "none"}:
            return "-" if form == "bullet" else ""

        def at(found: re.Match[str]) -> str:
            index = int(found[1]) - 1
            shape, _, first = levels.get(index, ("decimal", "", 1))
            return _written(counts[index] or first, shape) if 0 <= index < _DEEPEST else ""

        return _PLACE.sub(at, pattern[:50])

    def _learn(self, numbering: Any) -> None:
        shapes: dict[str, dict[int, tuple[str, str, int]]] = {}
        for abstract in numbering.iterchildren(qn("w:abstractNum")):
            levels: dict[int, tuple[str, str, int]] = {}
            for level in abstract.iterchildren(qn("w:lvl")):
                index = level.get(qn("w:ilvl")) or "0"
                start = _value(level, "w:start") or "1"
                if index.isdigit():
                    form = _value(level, "w:numFmt") or "decimal"
                    levels[int(index)] = (form, _value(level, "w:lvlText") or "", int(start) if start.isdigit() else 1)
            shapes[abstract.get(qn("w:abstractNumId")) or ""] = levels
        for each in numbering.iterchildren(qn("w:num")):
            self._levels[each.get(qn("w:numId")) or ""] = shapes.get(_value(each, "w:abstractNumId") or "", {})


def _is_numbering(relation: Any) -> bool:
    return (
        not relation.is_external
        and relation.reltype.endswith("/numbering")
        and hasattr(relation.target_part, "element")
    )


def _inherited(style: Any) -> list[Any]:
    """Paragraph properties of a style and of those it is based on."""
    found: list[Any] = []
    while style is not None and len(found) < _DEEPEST:
        found.append(style.element.find(qn("w:pPr")))
        style = style.base_style
    return found


def _value(element: Any, path: str) -> str | None:
    for name in path.split("/"):
        element = element.find(qn(name))
        if element is None:
            return None
    return element.get(qn("w:val"))


def _written(number: int, form: str) -> str:
    if form in {"lowerLetter", "upperLetter"}:
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 % 20 + 1)
        return letter if form == "lowerLetter" else letter.upper()
    if form in {"lowerRoman", "upperRoman"}:
        roman = _roman(number)
        return roman.lower() if form == "lowerRoman" else roman
    return f"{number:02d}" if form == "decimalZero" else str(number)


def _roman(number: int) -> str:
    written = ""
    for value, letters in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"),
        strict=True,
    ):
        written += letters * (number // value)
        number %= value
    return written[:40]

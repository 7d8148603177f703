"""Numbers in a text, whichever way they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Separator = Literal["auto", "point", "comma"]
"""What stands before the fraction of a number."""

_TOKEN = re.compile(r"(?:(?<![\w.])\.[0-9]+|[0-9]+(?:[.,][0-9]+)*)(?:e[+-]?[0-9]{1,3}(?![0-9a-z]))?")
_POINT = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|[0-9]+)?(?:\.[0-9]+)?(?:e.*)?")
"""1,815.5 and, as in India, 12,34,567."""
_COMMA = re.compile(r"(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]+)?(?:e.*)?")
"""1.815,5"""
_PART = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?")
"""What a date, a version or a row of a CSV file falls into."""
_SEPARATOR = re.compile("(?<=[0-9])[\u00a0\u2009\u202f'\u2019](?=[0-9]{3}(?![0-9]))")
"""Thousands separators beside the comma: narrow spaces and apostrophes."""
_SCALES = {
    "k": 10**3, "thousand": 10**3, "m": 10**6, "mn": 10**6, "million": 10**6, "bn": 10**9, "billion": 10**9,
    "trillion": 10**12, "千": 10**3, "万": 10**4, "億": 10**8, "兆": 10**12,
}  # fmt: skip
_SCALE = re.compile(r"(?:\s?(thousand|million|billion|trillion|mn|bn|千|万|億|兆)|([km]))(?![a-z])")
_COMPOUND = frozenset("千万億兆")
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|パーセント)")
_MINUS = re.compile(r"(?:(?<![\w)\]%.,])[-\u2212\u2013]|[▲△])[$€£¥]?\Z")


@dataclass(frozen=True)
class Figure:
    """A number as it stands in a text."""

    shown: str
    readings: tuple[tuple[Decimal, ...], ...]
    """What it may mean, the likeliest first: a number, or several where it falls into parts, as a date does."""
    parts: frozenset[Decimal]
    """Every number that stands in it, with and without its scale word."""
    negative: bool
    percent: bool


def fold(text: str) -> str:
    """One form for one text: width, case, thousands separators that are no commas or points."""
    return unicodedata.normalize("NFKC", _SEPARATOR.sub("", text)).casefold()


def plain(value: Decimal) -> str:
    """A number without zeros that say nothing.

    >>> plain(Decimal("012.50"))
    '12.5'
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rewrite(folded: str, separator: Separator = "auto") -> tuple[str, ...]:
    """A folded text with every number plain: once as it most likely is meant and, where that differs, as it may be."""
    found = [(match, _read(match.group(), folded, match.end(), separator)) for match in _TOKEN.finditer(folded)]
    likeliest = _replaced(folded, [(match, readings[0]) for match, readings in found])
    other = _replaced(
        folded, [(match, next((r for r in readings[1:] if len(r) == 1), readings[0])) for match, readings in found]
    )
    return (likeliest,) if likeliest == other else (likeliest, other)


def figures(text: str, separator: Separator = "auto") -> Iterator[Figure]:
    """The numbers of a text in their order.

    1,815 is 1815; 1.234.567 and 1.815,5 are read as on the Continent; 38.000 may be 38 or 38000; 3.2 million is
    3200000; 1億2,345万 is 123450000. Fractions and numbers in words are not read.
    """
    folded = fold(text)
    tokens = list(_TOKEN.finditer(folded))
    position = 0
    while position < len(tokens):
        last, compound, parts = _compound(folded, tokens, position, separator)
        start, first = tokens[position].start(), tokens[position]
        if compound is not None:
            readings, end = ((compound,),), _scale_end(folded, tokens[last].end())
        else:
            factor = _factor(folded, first.end())
            readings = _read(first.group(), folded, first.end(), separator)
            parts = {value for reading in readings for value in reading}
            if first.group().count(".") > 1 and len(readings[0]) > 1:  # 14.03.2025 holds the 14th
                parts.update(map(Decimal, first.group().replace(",", ".").split(".")))
            if factor != 1:
                readings = tuple((*reading[:-1], reading[-1] * factor) for reading in readings)
            end = _scale_end(folded, first.end())
        yield Figure(
            shown=folded[start:end],
            readings=readings,
            parts=frozenset(parts).union(value for reading in readings for value in reading),
            negative=_MINUS.search(folded, max(0, start - 3), start) is not None,
            percent=_PERCENT.match(folded, end) is not None,
        )
        position = last + 1


def _compound(
    folded: str, tokens: Sequence[re.Match[str]], position: int, separator: Separator
) -> tuple[int, Decimal | None, set[Decimal]]:
    """Position of the last number of one such as 1億2,345万, its value, and the numbers in it; None for any other."""
    total, parts, last, limit = Decimal(0), set[Decimal](), position, Decimal("Infinity")
    for index in range(position, len(tokens)):
        token = tokens[index]
        if index > position and token.start() != _scale_end(folded, tokens[index - 1].end()):
            break
        scale = _SCALE.match(folded, token.end())
        word = scale.group(1) if scale is not None else None
        if index == position and word not in _COMPOUND:
            break
        [value, *more] = _read(token.group(), folded, token.end(), separator)[0]
        factor = _SCALES[word] if word in _COMPOUND else 1
        if more or factor >= limit or value * factor >= limit:
            break
        total, last, limit = total + value * factor, index, Decimal(factor)
        parts |= {value, value * factor}
        if factor == 1:
            break
    return (last, total, parts) if last > position else (position, None, set())


def _scale_end(folded: str, end: int) -> int:
    scale = _SCALE.match(folded, end)
    return end if scale is None else scale.end()


def _factor(folded: str, end: int) -> int:
    scale = _SCALE.match(folded, end)
    return 1 if scale is None else _SCALES[scale.group(1) or scale.group(2)]


def _read(token: str, folded: str, end: int, separator: Separator) -> tuple[tuple[Decimal, ...], ...]:
    """What one run of digits, points and commas may mean, the likeliest first."""
    if token.isdigit():
        return ((Decimal(token),),)
    point = (Decimal(token.replace(",", "")),) if _POINT.fullmatch(token) else None
    comma = (Decimal(token.replace(".", "").replace(",", ".")),) if _COMMA.fullmatch(token) else None
    if separator == "point" or (separator == "auto" and comma is None):
        return (point or _pieces(token),)
    if separator == "comma":
        return (comma or _pieces(token),)
    assert comma is not None
    if point is None:  # 12,5 may also be a list of 12 and 5
        return (comma, _pieces(token)) if "." not in token else (comma,)
    # 1,815 is hardly ever 1.815; 38.000 is 38000 at least as often as 38, but not before a scale word or a per cent.
    ambiguous = "." in token and point != comma
    if ambiguous and _SCALE.match(folded, end) is None and _PERCENT.match(folded, end) is None:
        return (point, comma)
    return (point,)


def _pieces(token: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(part.replace(",", "")) for part in _PART.findall(token))


def _replaced(folded: str, chosen: Sequence[tuple[re.Match[str], tuple[Decimal, ...]]]) -> str:
    text, done = "", 0
    for match, values in chosen:
        if len(values) == 1:
            shown = plain(values[0])
        else:
            shown = _PART.sub(lambda part: plain(Decimal(part.group().replace(",", ""))), match.group())
        text += folded[done : match.start()] + shown
        done = match.end()
    return text + folded[done:]

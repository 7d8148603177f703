"""In what a sentence and the place that it comes from disagree: figures, names, a *not*. Told by words alone.

English and German are known best, of Japanese the forms of polite and plain prose, of French and Spanish what is most
common.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from functools import cached_property

from changeover.evals.scorers.figures import Figure, figures
from changeover.evals.scorers.prose import LIST_MARK
from changeover.tools.steps.passages import content_words, stop_words

YEARS = range(1900, 2101)
"""A year often stands in a heading, and not in the sentence that it belongs to."""
_SPELLED = """
2 two zwei | second zweite zweiten 二
3 three drei | third dritte dritten 三
4 four vier | fourth vierte vierten 四
5 five fünf | fifth fünfte fünften 五
6 six sechs | sixth sechste sechsten 六
7 seven sieben | seventh siebte siebten 七
8 eight acht | eighth achte achten 八
9 nine neun | ninth neunte neunten 九
10 ten zehn | tenth zehnte zehnten 十
11 eleven elf | 十一
12 twelve zwölf | dozen dutzend 十二
20 twenty zwanzig |
30 thirty dreißig |
40 forty vierzig |
50 fifty fünfzig |
1 | one first ein eine einen einem einer eines erste ersten 一
"""
"""Small numbers as words; those after the bar may mean something else, and are asked of no source."""
_NUMBERS = {
    word: Decimal(line.split()[0])
    for line in _SPELLED.strip().splitlines()
    for word in line.partition("|")[0].split()[1:]
}
_KNOWN = _NUMBERS | {
    word: Decimal(line.split()[0]) for line in _SPELLED.strip().splitlines() for word in line.partition("|")[2].split()
}
_WORD = re.compile(r"[^\W\d_]+")
_KANJI_NUMBER = re.compile("十?[一二三四五六七八九]|十")


class Place:
    """A text that a sentence may come from, read once for what is asked of it."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def figures(self) -> Figures:
        """Its numbers."""
        return Figures(self._text)

    @cached_property
    def folded(self) -> str:
        """The text in which names are looked for."""
        return _folded(self._text)

    @cached_property
    def begins(self) -> frozenset[str]:
        """How its words begin, and its short words whole: `Nov` is November."""
        return frozenset(word[:_SAME] for word in _NAME.findall(self.folded)) - stop_words()


class Figures:
    """The numbers of a text, however they are written."""

    def __init__(self, text: str) -> None:
        self._known = frozenset(_numbers(text)).union(*(figure.parts for figure in figures(text)))
        self._in_order = sorted(self._known)

    def has(self, figure: Figure) -> bool:
        """Whether a figure is one of these, or with its scale word the rounding of one: 1.8 million of 1,815,000."""
        if any(self._known.issuperset(reading) for reading in figure.readings):
            return True
        rounded = _ROUNDED.fullmatch(figure.shown)
        if rounded is None or len(figure.readings[0]) != 1:
            return False
        try:
            unit = figure.readings[0][0] / Decimal(rounded[1])
        except (InvalidOperation, ZeroDivisionError):
            return False
        half = unit.scaleb(-len(rounded[1].partition(".")[2])) / 2
        place = bisect_left(self._in_order, figure.readings[0][0] - half)
        return place < len(self._in_order) and self._in_order[place] <= figure.readings[0][0] + half

    def holds(self, number: Decimal) -> bool:
        """Whether a number is one of these."""
        return number in self._known


_ROUNDED = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*\D+")


def _numbers(text: str) -> Iterable[Decimal]:
    """The small numbers that are written as words."""
    yield from (_KNOWN[word] for word in _WORD.findall(text.lower()) if word in _KNOWN)
    yield from (_KNOWN[found] for found in _KANJI_NUMBER.findall(text) if found in _KNOWN)


def other_figures(claim: str, place: Place, around: Sequence[Place]) -> bool:
    """Whether a sentence has a number that a place has not.

    Args:
        claim: The sentence.
        place: What it comes from.
        around: The pages, for years.
    """
    for figure in figures(LIST_MARK.sub("", claim)):
        a_year = any(len(reading) == 1 and reading[0] in YEARS for reading in figure.readings)
        known = place.figures.has(figure) or (a_year and any(page.figures.has(figure) for page in around))
        if not known:
            return True
    spelled = (_NUMBERS[word] for word in _WORD.findall(claim.lower()) if word in _NUMBERS)
    return not all(place.figures.holds(number) for number in spelled)


_GERMAN_WORDS = """
der die das den dem des und ist sind wird werden nicht mit für von vom im zu zum zur ein eine
"""
_GERMAN = frozenset(_GERMAN_WORDS.split())
_NO_NAMES = """
i mr mrs ms miss dr prof sir herr herrn frau company group board bank management chair chief executive officer customer
client supplier seller buyer party parties agreement contract
"""
_CAPITALISED = frozenset(_NO_NAMES.split())
"""Titles, and what some houses write like names."""
_TITLED = re.compile(r"\b(?:Herrn?|Frau|Dr\.|Prof\.)\s+((?:[A-ZÄÖÜ][\w-]+\s?){1,3})")
_CALLED = re.compile("(?<!お)([々\u4e00-\u9fff\u30a1-\u30fa\u30fc]{1,8})(?:さん|様|氏)")
_NAME = re.compile(r"(?<![\w'\u2019-])[^\W\d_][\w-]*")
_SAME = 4
"""Letters in which two forms of a name agree: `Norway` and `Norwegian`."""


def names(text: str) -> set[str]:
    """Names in a sentence, folded: words with a capital, but for the first; of German after a title, of Japanese before さん."""
    found = set(_CALLED.findall(text))
    said = _NAME.findall(text)
    if _GERMAN.intersection(said):
        return found | {
            _folded(name)
            for run in _TITLED.findall(text)
            for name in run.split()
            if name.casefold() not in _CAPITALISED
        }
    capitals = [
        word for word in said[1:] if word[0].isupper() and not word.isupper() and word.casefold() not in _CAPITALISED
    ]
    a_heading = 2 * len(capitals) > len(said)
    return found if a_heading else found | {_folded(part) for word in capitals for part in word.split("-") if part}


def other_names(claim: str, around: Sequence[Place]) -> bool:
    """Whether a sentence has a name that its pages have not, in any form."""
    return not all(any(_named(name, page) for page in around) for name in names(claim))


def _named(name: str, page: Place) -> bool:
    forms = {name[:_SAME], name[:3]} if len(name) >= _SAME else {name}
    return name in page.folded or not forms.isdisjoint(page.begins)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


_NO_NOT = re.compile(
    r"\b(?:not|no|nicht|kein\w*) (?:only|more|less|fewer|later|earlier|longer than|nur|mehr als|weniger|später|früher"
    r"|länger als|without|unable|ohne)\b"
    r"|なければな\w*|ないといけ\w*|かもしれ(?:ない|ません)|だけでなく|少な\w|間もなく|まもなく|すみません|必ず|はず|まず|わずか"
)
"""What looks like a *not* and is none."""
_NOT = re.compile(
    r"\b(?:not|no(?!\.)|never|none|nobody|nothing|neither|nowhere|cannot|without|unable"
    r"|exclud\w+|refus\w+|prohibit\w*|forbid\w*"
    r"|nicht|nichts|kein\w*|nie|niemals|niemand\w*|weder|ohne|nirgends|ausgeschlossen|verboten|untersagt|\w+frei"
    r"|pas|jamais|aucune?|rien|sans|nunca|sin|tampoco)\b|n['\u2019]t\b"
    r"|ません|ない|なかっ|なく|ずに|ざる|不可|禁止"
)
_CLAUSE = re.compile(r"[,;:、]|\b(?:but|although|while|whereas|sondern|aber|obwohl|mais|pero)\b")


def denies(claim: str, place: Iterable[str]) -> bool:
    """Whether a sentence says *not* of what a place says, or the other way round.

    Words that both have are compared: whether half of them stand in a clause with a *not* here, and in one without
    there.

    Args:
        claim: The sentence.
        place: The sentences that it comes from.
    """
    said, there = _said_of(claim), defaultdict[str, set[bool]](set)
    for sentence in place:
        for word, how in _said_of(sentence).items():
            there[word] |= how
    shared = said.keys() & there.keys()
    against = sum(said[word].isdisjoint(there[word]) for word in shared)
    return bool(shared) and 2 * against >= len(shared)


def _said_of(sentence: str) -> dict[str, set[bool]]:
    """Of each word of a sentence, whether a clause that it stands in denies."""
    said = defaultdict[str, set[bool]](set)
    for clause in _CLAUSE.split(_NO_NOT.sub(" ", _folded(sentence))):
        denied = _NOT.search(clause) is not None
        for word in content_words(clause):
            said[word].add(denied)
    return said

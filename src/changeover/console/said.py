"""Finished English sentences of the rooms below, such as why a rollout waits, in the language of who reads the page.

Those rooms write English, and a good part of it stands in the store as text: when a page reads it, nobody knows any more
what was put in where. So a catalogue of patterns (`locale/<language>/said_*.po`) finds a sentence's parts again:

    msgid "{count} of {needed} requests copied to the candidate"

A place may say what stands in it: `{count:number}`, `{task:word}` (no space), `{memory:size}`, `{day:day}`, `{odds:odds}`,
`{why:said}` (itself a sentence, which is looked up too), `{names:each}` (several, each looked up by itself; those without a
pattern stay as they are), `{reason:own}` (somebody's own words, which stay). What has no pattern stays as it is written. What
models or people wrote must not be passed through here by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from string import Formatter

from changeover.console.languages import ENGLISH, sentences_in, translated
from changeover.core.actors import NOBODY
from changeover.evals.report.language import Language

LONGEST = 4_000
"""Characters; longer texts are no sentence of ours."""
DEEPEST = 4
"""Sentences within sentences."""
START = 4
"""Characters by which patterns are found."""
MOST_KEPT = 8_192
"""Sentences of which it is remembered what they say."""
_UNASKED = re.compile(r"first start; declared in \S+|\S+ passed cmp_[\w-]+(?:, trial \d+)?|begun in the console")
"""Reasons that we write for whoever gives none."""
_KINDS: Mapping[str, re.Pattern[str]] = {
    "number": re.compile(r"(?:[<>~≈] ?)?[+\-−]?\$?\d[\d,.]*(?:e[+-]?\d+)?"),
    "size": re.compile(r"[\d.,]+(?: (?:[KMGT]i?)?B)?(?: \([\d.,]+ (?:[KMGT]i?)?B\))?"),
    "odds": re.compile(r"(?:[<>] )?\d[\d.,]* : 1"),
    "day": re.compile(r"\d{2,4}(?:-\d\d){0,2}"),
    "word": re.compile(r"\S+"),
}
_LISTED = re.compile(r"(, and |, or |, |; | and | or |\+| · )")
"""What parts that are listed have between them, which the catalogue has as well."""
_ENDS = re.compile(r"(?<=[.!?]) (?=[A-Z`«“])")
"""Between two sentences."""


@dataclass(frozen=True)
class Pattern:
    """A sentence with places for values."""

    literals: tuple[str, ...]
    """The texts around the places: one more than there are places."""
    places: tuple[tuple[str, str], ...]
    """Name and kind of each."""
    says: str
    """The sentence in another language, with the same names."""
    longest: str
    """The longest of the texts: most sentences do not hold it, and are no more looked at."""

    @property
    def weight(self) -> int:
        """How much of it is certain; the most certain pattern is tried first."""
        return sum(map(len, self.literals))

    @property
    def speaks(self) -> bool:
        """Whether it has words of its own; one without, such as `{where}: {why}`, is none unless all in it is said."""
        return any(map(str.isalpha, "".join(self.literals)))

    @property
    def of_people(self) -> bool:
        """Whether somebody's own words stand in it: it is tried first, lest these are taken for a sentence of ours."""
        return any(kind == "own" for _, kind in self.places)

    @property
    def sentences(self) -> Sequence[int]:
        """Places that hold sentences."""
        return [number for number, (_, kind) in enumerate(self.places) if kind in ("said", "each")]

    def values(self, text: str) -> list[str] | None:
        """What stands in the places; None where the text is not this sentence.

        Takes time in proportion to the text: of several ways to cut it, the one with the shortest values from the left on
        is taken, which finds a way wherever there is one but for the kinds of values.
        """
        if self.longest not in text:
            return None
        first, *between, last = self.literals
        if not (text.startswith(first) and text.endswith(last)) or len(text) <= len(first) + len(last):
            return None
        at, end = len(first), len(text) - len(last)
        found: list[str] = []
        for literal in between:
            next_at = text.find(literal, at + 1, end)
            if next_at < 0:
                return None
            found.append(text[at:next_at])
            at = next_at + len(literal)
        if at >= end:
            return None
        found.append(text[at:end])
        for (_, kind), value in zip(self.places, found, strict=True):
            if kind in _KINDS and not _KINDS[kind].fullmatch(value):
                return None
        return found


def pattern_of(english: str, says: str) -> Pattern:
    """Read a pattern.

    Raises:
        ValueError: Two places have nothing between them, or a kind is none.
    """
    literals, places = [""], list[tuple[str, str]]()
    for literal, name, kind, _ in Formatter().parse(english):
        literals[-1] += literal
        if name is not None:
            if kind not in ("", None, "said", "each", "own", *_KINDS):
                raise ValueError(f"`{english}`: there is no kind `{kind}`")
            if places and not literals[-1]:
                raise ValueError(f"`{english}`: nothing stands before `{name}`")
            places.append((name, kind or ""))
            literals.append("")
    return Pattern(tuple(literals), tuple(places), says, max(literals, key=len))


class Catalogue:
    """The sentences of one language."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self._whole: dict[str, str] = {}
        self._of_people: list[Pattern] = []
        self._by_start: dict[str, list[Pattern]] = {}
        for english, says in sentences.items():
            pattern = pattern_of(english, says)
            if pattern.of_people:
                self._of_people.append(pattern)
            elif pattern.places:
                self._by_start.setdefault(_key(pattern), []).append(pattern)
            else:
                self._whole[pattern.literals[0]] = says.format()
        for patterns in self._by_start.values():
            patterns.sort(key=lambda each: -each.weight)

    def say(self, text: str) -> str:
        """The sentence in this language; several one by one; itself where there is no pattern."""
        return _Saying(self).say(text, 0)

    def whole(self, text: str) -> str | None:
        """What a sentence without places says."""
        return self._whole.get(text)

    def patterns(self, text: str) -> Iterator[Pattern]:
        """Those that a sentence may be of, by how it begins."""
        yield from self._of_people
        yield from self._by_start.get(text[:START], ())
        yield from self._by_start.get("", ())


class _Saying:
    """One sentence as it is said, with those in it: what was looked for once is not looked for again."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[str, str | None] = {}

    def say(self, text: str, depth: int) -> str:
        if depth > DEEPEST or len(text) > LONGEST:
            return text
        stripped = text.strip()
        found = self._one(stripped, depth)
        if found is None and stripped[:1].islower():  # as it begins where it stands alone
            found = self._one(stripped[0].upper() + stripped[1:], depth)
        if found is not None:
            return found
        parts = _ENDS.split(stripped)
        if len(parts) > 1:
            each = [self._one(part, depth) for part in parts]
            if any(each):
                return "".join(said or part + " " for said, part in zip(each, parts, strict=True)).rstrip()
        listed = _LISTED.split(stripped)
        if len(listed) > 1 and all(self._one(part, depth) is not None for part in listed[::2]):
            return self._listed(stripped, depth)
        return text

    def _one(self, text: str, depth: int) -> str | None:
        if text not in self._known:
            self._known[text] = None  # while it is looked for
            self._known[text] = self._found(text, depth)
        return self._known[text]

    def _found(self, text: str, depth: int) -> str | None:
        whole = self._catalogue.whole(text)
        if whole is not None:
            return whole
        for pattern in self._catalogue.patterns(text):
            values = pattern.values(text)
            if values is not None:
                kinds = [kind for _, kind in pattern.places]
                told = [self._value(value, kind, depth) for value, kind in zip(values, kinds, strict=True)]
                if pattern.speaks or all(told[place] != values[place] for place in pattern.sentences):
                    named = {name: each for (name, _), each in zip(pattern.places, told, strict=True)}
                    return pattern.says.format_map(named)
        return None

    def _value(self, value: str, kind: str, depth: int) -> str:
        if kind == "said":
            return self.say(value, depth + 1)
        if kind == "each":
            whole = self._one(value.strip(), depth + 1)
            return whole if whole is not None else self._listed(value, depth + 1)
        return value

    def _listed(self, text: str, depth: int) -> str:
        parts = _LISTED.split(text)
        return "".join(
            (self._catalogue.whole(part) or part) if place % 2 else self.say(part, depth)
            for place, part in enumerate(parts)
        )


def _key(pattern: Pattern) -> str:
    first = pattern.literals[0]
    return first[:START] if len(first) >= START else ""


@cache
def catalogue(language: str) -> Catalogue:
    """The sentences of a language."""
    return Catalogue(sentences_in(language))


def said(language: str, text: object) -> str:
    """A sentence of the rooms below in a language; as it is where nobody wrote it there."""
    words = str(text)
    return words if language == ENGLISH or len(words) > LONGEST else _said(language, words)


def said_each(language: str, texts: Iterable[object]) -> Sequence[str]:
    """Several sentences."""
    return [said(language, text) for text in texts]


def said_by(language: str, text: str, actor: str) -> str:
    """A reason that stands in a history: ours in a language, a person's as it was written."""
    return said(language, text) if actor in NOBODY or _UNASKED.fullmatch(text) else text


@cache
def report_in(language: str) -> Language:
    """The language of a comparison's report."""
    if language == ENGLISH:
        return Language()
    return Language(tag=language, text=partial(translated, language), said=partial(said, language))


@lru_cache(MOST_KEPT)
def _said(language: str, text: str) -> str:
    return catalogue(language).say(text)

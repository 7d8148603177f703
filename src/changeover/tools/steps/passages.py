"""Passages: pieces of what is searched or cited, each with its page; and the words by which they are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

from changeover.evals.scorers.prose import sentences
from changeover.library.search.spelling import words
from changeover.tools.plain import text_of
from changeover.tools.steps.split import parts_of
from changeover.tools.values import Document, Found, Part

PASSAGE = 600
"""Characters of a passage of what comes whole. Parts are taken as they are."""
_HIRAGANA = re.compile(r"[\u3040-\u309f]+")
_STOP = """
a about after all also an and any are as at be been before being but by can could did do does for from had has have he her
his how if in into is it its may more most no nor not of on one or other our out over she should so some such than that the
their them then there these they this those to under up was we were what when where which while who why will with would you
your der die das den dem des ein eine einen einem einer eines und oder aber mit für von vom zu zum zur auf aus bei nach über
unter vor durch ich wir ihr sie er es ist sind war waren wird werden wurde wurden hat haben hatte nicht auch nur im in an am
als wie so dass sich noch bis le la les un une des du de et ou mais avec pour par sur dans en au aux ce cette ces son sa ses
leur leurs est sont était a ont il elle ils elles qui que ne pas plus el los las una unos unas del al y o pero con para por
su sus es son fue era ha han se lo il lo gli i uno di da con su per tra non è sono che si e
"""


@cache
def stop_words() -> frozenset[str]:
    """Words that say nothing of what a sentence is about, in the form that is compared."""
    return frozenset(words(_STOP))


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, in the form that is compared. Numbers are no words."""
    stop = stop_words()
    return [word for word in words(text) if word not in stop and not word.isdecimal() and not _HIRAGANA.fullmatch(word)]


def passages_of(source: Any) -> list[Part]:
    """What can be looked up: parts as they are, documents and texts in pieces, rows of a table one by one."""
    if isinstance(source, Part):
        return [source]
    if isinstance(source, (list, tuple)):
        return [part for each in cast("Sequence[Any]", source) for part in passages_of(each)]
    if isinstance(source, Mapping):
        return [Part(index=0, text=text_of(source))]
    return parts_of(source, PASSAGE)


def pages_in(source: Any) -> Iterator[tuple[str, int | None, str, str]]:
    """What can be cited: document, page, label and text, a page at a time."""
    if isinstance(source, (list, tuple)):
        for each in cast("Sequence[Any]", source):
            yield from pages_in(each)
    elif isinstance(source, Document):
        for page in source.pages:
            yield source.name, page.number, page.label, page.text
    elif isinstance(source, Part):
        yield from _pages_of_part(source)
    else:
        yield "", None, "", text_of(source)


def _pages_of_part(part: Part) -> Iterator[tuple[str, int | None, str, str]]:
    if len(part.starts) != len(part.pages) or len(part.labels) != len(part.pages) or not part.pages:
        yield part.document, part.pages[0] if part.pages else None, part.label, part.text
        return
    ends = [*part.starts[1:], len(part.text)]
    for number, label, start, end in zip(part.pages, part.labels, part.starts, ends, strict=True):
        yield part.document, number, label, part.text[start:end]


def claims_of(value: Any) -> list[str]:
    """What is to be borne out: the sentences of a text, the members of a list."""
    if isinstance(value, (list, tuple)):
        return [text for each in cast("Sequence[Any]", value) if (text := text_of(each).strip())]
    return sentences(text_of(value))


def found(part: Part, question: str, score: float) -> Found:
    """A passage that belongs to a question."""
    return Found(
        index=part.index,
        text=part.text,
        document=part.document,
        pages=part.pages,
        label=part.label,
        starts=part.starts,
        labels=part.labels,
        question=question,
        score=round(score, 4),
    )

"""`split`: a document, or a text, is cut into parts: at paragraphs, else at sentences, else anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import msgspec

from changeover.tools.declarations import SplitStep
from changeover.tools.plain import text_of
from changeover.tools.steps.run import Run
from changeover.tools.values import Document, Page, Part

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(
    "(?<=[.!?\u2026])[\"'\u2019\u201d)\\]]?\\s+|(?<=[\u3002\uff01\uff1f\uff0e])[\u300d\u300f\uff09]?\\s*|\n"
)
_SPACE = re.compile(r"\s")
_NUMBERED = re.compile(r"(\D*?)\s*(\d+)")
_PLURALS = {"p.": "pp.", "slide": "slides", "sheet": "sheets"}
_BETWEEN = "\n\n"
"""Stands between two pages."""


async def split(step: SplitStep, run: Run) -> list[Part]:
    """Cut what a step names."""
    source = run.value(step.source)
    return await run.compute(lambda: parts_of(source, step.max_chars, step.overlap_chars))


def parts_of(source: Any, most: int, overlap: int = 0) -> list[Part]:
    """The parts of a document, of a text, or of each of a list of them.

    No part is longer than `most`, and nothing is lost but white space between parts. A part ends where a paragraph
    does, unless that alone is longer: then where a sentence does, and else anywhere.

    Args:
        source: A document, a part, a text, or a list of these.
        most: Characters of a part.
        overlap: Characters of the part before, that a part begins with; at most a half of `most`.
    """
    if isinstance(source, (list, tuple)):
        parts = [part for each in cast("Sequence[Any]", source) for part in parts_of(each, most, overlap)]
    else:
        name, pages = _pages_of(source)
        overlap = min(overlap, most // 2)
        cut = [_part(name, pieces) for pieces in _packed(list(_pieces(pages, most - overlap)), most - overlap)]
        parts = _overlapping([part for part in cut if part.text], overlap)
    return [msgspec.structs.replace(part, index=index) for index, part in enumerate(parts)]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut further, with the white space after it."""

    text: str
    page: Page | None
    paragraph: int


def _pages_of(source: Any) -> tuple[str, list[Page | str]]:
    if isinstance(source, Document):
        return source.name, [*source.pages]
    if isinstance(source, Part) and source.pages:
        labels = source.labels or [source.label] * len(source.pages)
        starts = source.starts or [0] * len(source.pages)
        ends = [*starts[1:], len(source.text)]
        return source.document, [
            Page(number=number, label=label, text=source.text[start:end])
            for number, label, start, end in zip(source.pages, labels, starts, ends, strict=True)
        ]
    return (source.document if isinstance(source, Part) else ""), [text_of(source)]


def _pieces(pages: Sequence[Page | str], most: int) -> Iterator[_Piece]:
    paragraph = 0
    for number, page in enumerate(pages):
        text = page if isinstance(page, str) else page.text
        text += _BETWEEN if number + 1 < len(pages) and text.strip() else ""
        for piece in _cut(text, _PARAGRAPH):
            paragraph += 1
            for short in _shortened(piece, most):
                yield _Piece(short, None if isinstance(page, str) else page, paragraph)


def _shortened(paragraph: str, most: int) -> Iterator[str]:
    if len(paragraph.strip()) <= most:
        yield paragraph
        return
    for sentence in _cut(paragraph, _SENTENCE):
        start, end = 0, len(sentence.rstrip())
        while end - start > most:
            # A space in the last fifth is a better place than the middle of a word.
            spaces = [found.end() for found in _SPACE.finditer(sentence, start + most - most // 5, start + most)]
            cut = spaces[-1] if spaces else start + most
            yield sentence[start:cut]
            start = cut
        yield sentence[start:]


def _cut(text: str, at: re.Pattern[str]) -> Iterator[str]:
    """The text in pieces that end with what was found; together they are the text."""
    done = 0
    for found in at.finditer(text):
        if found.end() > done:
            yield text[done : found.end()]
            done = found.end()
    if done < len(text):
        yield text[done:]


def _packed(pieces: Sequence[_Piece], most: int) -> Iterator[list[_Piece]]:
    """As many pieces together as fit; a paragraph that fits into one part is not cut over two."""
    part: list[_Piece] = []
    length = 0
    for group in _groups(pieces, most):
        if part and length + _length(group) > most:
            yield part
            part, length = [], 0
        part += group
        length += sum(len(piece.text) for piece in group)
    if part:
        yield part


def _groups(pieces: Sequence[_Piece], most: int) -> Iterator[list[_Piece]]:
    for _, members in groupby(pieces, key=lambda piece: piece.paragraph):
        paragraph = list(members)
        if _length(paragraph) <= most:
            yield paragraph
        else:
            yield from ([piece] for piece in paragraph)


def _length(pieces: Sequence[_Piece]) -> int:
    """Characters, without the white space after the last."""
    return sum(len(piece.text) for piece in pieces[:-1]) + len(pieces[-1].text.rstrip())


def _part(document: str, pieces: Sequence[_Piece]) -> Part:
    text = "".join(piece.text for piece in pieces)
    lead = len(text) - len(text.lstrip())
    pages: dict[int, tuple[str, int]] = {}
    at = 0
    for piece in pieces:
        if piece.page is not None and piece.text.strip():
            pages.setdefault(piece.page.number, (piece.page.label, max(0, at - lead)))
        at += len(piece.text)
    labels = [label for label, _ in pages.values()]
    return Part(
        index=0,
        text=text.strip(),
        document=document,
        pages=list(pages),
        label=_label(labels),
        starts=[start for _, start in pages.values()],
        labels=labels,
    )


def _label(labels: Sequence[str]) -> str:
    """One label for several pages.

    >>> _label(["p. 3", "p. 4", "p. 5"]), _label(["slide 2"]), _label(["sheet A", "sheet B"])
    ('pp. 3-5', 'slide 2', 'sheet A - sheet B')
    """
    if len(labels) < 2:
        return labels[0] if labels else ""
    first, last = _NUMBERED.fullmatch(labels[0]), _NUMBERED.fullmatch(labels[-1])
    if first is None or last is None or first[1] != last[1]:
        return f"{labels[0]} - {labels[-1]}"
    return f"{_PLURALS.get(first[1], first[1])} {first[2]}-{last[2]}".strip()


def _overlapping(parts: Sequence[Part], overlap: int) -> list[Part]:
    """Parts that begin with the end of the one before."""
    if not overlap:
        return list(parts)
    return [
        part if before is None else _after(part, _ending(before.text, overlap - 1))
        for before, part in zip([None, *parts], parts, strict=False)
    ]


def _ending(text: str, most: int) -> str:
    """The end of a text, from the beginning of a word where there is one."""
    if len(text) <= most:
        return text
    ending = text[len(text) - most :] if most > 0 else ""
    space = _SPACE.search(ending)
    return ending[space.end() :] if space is not None else ending


def _after(part: Part, ending: str) -> Part:
    if not ending:
        return part
    starts = [start + len(ending) + 1 if start else 0 for start in part.starts]
    return msgspec.structs.replace(part, text=f"{ending}\n{part.text}", starts=starts)

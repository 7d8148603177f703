"""Which samples a report shows, and how: the largest differences first, cut to a length that a page can carry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, cast

from changeover.evals.differences import Piece, compare
from changeover.evals.report.record import ReportSample, Told
from changeover.evals.report.words import amount, as_text, shorten, visible

OPEN = 4
"""Examples of a kind that are shown at once; the others are folded."""
MOST = 60
"""Examples of a kind on the page."""
LONGEST = 3000
"""Characters of one text."""
PAGE_BUDGET = 900_000
"""Bytes of HTML that the texts of all examples may take together."""

_EDGES = re.compile(r"(\A\s+|\s+\Z|[ \t]*\n\s*)")
"""White space that is not marked: it would only underline indentation."""
_LEAST_ALIKE = 0.5
"""Below it everything would be marked, which shows nothing."""


@dataclass(frozen=True, kw_only=True)
class ShownSide:
    """One side's answer as it is shown."""

    name: str
    role: str
    score: float
    pieces: tuple[Piece, ...]
    """Empty where it gave no text."""
    left_out: int
    """Characters that were cut."""
    error: str | None
    why: tuple[tuple[str, str], ...]
    took: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One sample as it is shown."""

    position: int
    id: str
    tags: tuple[str, ...]
    cluster: str | None
    difference: float
    asked: str
    asked_left_out: int
    target: str
    sides: tuple[ShownSide, ShownSide]
    compared: bool
    """Whether differing words are marked."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The samples of one kind."""

    title: str
    what: str
    sign: str
    look: str
    total: int
    open: tuple[Example, ...]
    folded: tuple[Example, ...]

    @property
    def left_out(self) -> int:
        return self.total - len(self.open) - len(self.folded)


class Chooser:
    """Chooses and cuts examples until the page's budget is spent."""

    def __init__(self, incumbent: str, candidate: str) -> None:
        self._names = (incumbent, candidate)
        self._left = PAGE_BUDGET

    def choose(
        self, samples: Iterable[ReportSample], *, title: str, what: str, sign: str, look: str, at_once: int = OPEN
    ) -> Examples:
        """Show the samples with the largest differences; of equal ones those drawn first.

        The first of each kind is shown whatever it costs, but for its texts' own limit.
        """
        ordered = sorted(samples, key=lambda sample: (-abs(sample.difference), sample.position))
        shown: list[Example] = []
        for sample in ordered[:MOST]:
            if shown and self._left <= 0:
                break
            example = present(sample, self._names, compare=len(shown) < at_once)
            self._left -= _bytes(example)
            shown.append(example)
        return Examples(
            title=title,
            what=what,
            sign=sign,
            look=look,
            total=len(ordered),
            open=tuple(shown[:at_once]),
            folded=tuple(shown[at_once:]),
        )


def present(sample: ReportSample, names: tuple[str, str], *, compare: bool = True) -> Example:
    """Cut a sample's texts to what is shown, and mark the words in which the answers differ."""
    asked, asked_left_out = shorten(sample.asked, LONGEST)
    old, old_left_out = shorten(sample.incumbent.text or "", LONGEST)
    new, new_left_out = shorten(sample.candidate.text or "", LONGEST)
    marked = mark_differences(visible(old), visible(new)) if compare else None
    old_pieces, new_pieces = marked or (_plain(old), _plain(new))
    return Example(
        position=sample.position,
        id=shorten(sample.id, 120)[0],
        tags=sample.tags[:12],
        cluster=sample.cluster,
        difference=sample.difference,
        asked=asked,
        asked_left_out=asked_left_out,
        target=_target(sample.target),
        sides=(
            _side(sample.incumbent, names[0], "incumbent", old_pieces, old_left_out),
            _side(sample.candidate, names[1], "candidate", new_pieces, new_left_out),
        ),
        compared=marked is not None,
    )


def mark_differences(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]] | None:
    """Cut two texts into pieces that are the same and pieces that differ.

    Returns:
        None where that would not help: they are the same, too long, or have too little in common.
    """
    compared = compare(old, new)
    if compared is None or not _LEAST_ALIKE <= compared.alike < 1.0:
        return None
    return tuple(_pieces(compared.before)), tuple(_pieces(compared.after))


def _pieces(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """The pieces, with the white space at the edges of those that differ apart."""
    for text, differs in pieces:
        if differs:
            yield from ((part, not part.isspace()) for part in _EDGES.split(text) if part)
        else:
            yield text, False


def _target(target: Any) -> str:
    """A target as a person reads it: an object as its keys with their texts, code and line breaks as they are."""
    if target is None:
        return ""
    if not isinstance(target, Mapping):
        return as_text(target, LONGEST)
    lines: list[str] = []
    for key, value in cast("Mapping[str, Any]", target).items():
        text = as_text(value, LONGEST)
        lines.append(f"{key}:\n{text}" if "\n" in text else f"{key}: {text}")
    return as_text("\n".join(lines), LONGEST)


def _plain(text: str) -> tuple[Piece, ...]:
    return ((text, False),) if text else ()


def _side(told: Told, name: str, role: str, pieces: tuple[Piece, ...], left_out: int) -> ShownSide:
    took = [] if told.duration_ms is None else [amount(told.duration_ms, "ms")]
    if told.completion_tokens is not None:
        took.append(amount(told.completion_tokens, "tokens"))
    return ShownSide(
        name=name,
        role=role,
        score=told.score,
        pieces=pieces,
        left_out=left_out,
        error=None if told.error is None else shorten(told.error, 600)[0],
        why=tuple(_details(told.why)),
        took=" · ".join(took),
    )


def _details(why: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The scorer's detail as lines; what is empty says nothing and is left out."""
    for key, value in list(why.items())[:12]:
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, float):
            text = f"{value:.3g}"
        elif isinstance(value, Sequence) and not isinstance(value, str):
            parts = cast("Sequence[Any]", value)
            text = " · ".join(as_text(part, 200) for part in parts[:20])
        else:
            text = as_text(value, 600)
        yield shorten(str(key).replace("_", " "), 60)[0], text


def _bytes(example: Example) -> int:
    """About how much HTML its texts make, once escaped."""
    texts = [example.asked, example.target]
    for side in example.sides:
        texts += [text for text, _ in side.pieces]
        texts += [text for _, text in side.why]
    return sum(len(escape(text).encode("utf-8", "replace")) for text in texts) + 1500

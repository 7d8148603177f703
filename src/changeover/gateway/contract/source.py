"""Text that arrives in pieces, for readers that are written as if they had all of it.

A reader is a generator that yields where it needs more text. It says what it found through `Found`, and never depends on
where the text was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import regex

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]
Kind = Literal["reasoning", "content", "call", "arguments"]
Emit = Callable[[str], None]


_SPACE: Final = regex.compile(r"\s*(?=\S)")


class Found:
    """What a reader has taken out of the text since it was last asked."""

    __slots__ = ("calls", "items")

    def __init__(self) -> None:
        self.items: list[tuple[Kind, str, str]] = []
        """(kind, text or a call's name, a call's id), in order."""
        self.calls = 0
        """Tool calls so far."""

    def reasoning(self, text: str) -> None:
        if text:
            self.items.append(("reasoning", text, ""))

    def content(self, text: str) -> None:
        if text:
            self.items.append(("content", text, ""))

    def call(self, name: str, id: str = "") -> None:
        """Begin a tool call; an empty id is given one later."""
        self.calls += 1
        self.items.append(("call", name, id))

    def arguments(self, text: str) -> None:
        """More JSON text of the call that was begun last."""
        if text:
            self.items.append(("arguments", text, ""))

    def take(self) -> list[tuple[Kind, str, str]]:
        items, self.items = self.items, []
        return items


class Markers:
    """Texts that mean something wherever they stand."""

    def __init__(self, markers: Sequence[str]) -> None:
        self._all = tuple(sorted(markers, key=len, reverse=True))
        self._pattern: Final = regex.compile("|".join(regex.escape(each) for each in self._all))
        self.firsts: Final = frozenset(each[0] for each in self._all)
        self._longest: Final = max(map(len, self._all))

    def find(self, text: str) -> tuple[int, str] | None:
        """Where the first one stands, and which; of two at one place, the longer."""
        found = self._pattern.search(text)
        return None if found is None else (found.start(), found.group())

    def held(self, text: str) -> int:
        """Characters at the end of `text` that may be the beginning of a marker."""
        tail = text[1 - self._longest :] if self._longest > 1 else ""
        for place, letter in enumerate(tail):
            if letter in self.firsts:
                rest = tail[place:]
                if any(each.startswith(rest) for each in self._all):
                    return len(rest)
        return 0


class Trimmed:
    """Passes text on without the white space at its end."""

    __slots__ = ("_emit", "_space", "any")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._space = ""
        self.any = False
        """Whether anything was passed on."""

    @property
    def settled(self) -> bool:
        """Whether text that ends in no white space may as well be passed on directly."""
        return self.any and not self._space

    def __call__(self, text: str) -> None:
        cut = text.rstrip()
        if cut:
            self._emit(self._space + cut)
            self._space = ""
            self.any = True
        self._space += text[len(cut) :]


class Source:
    """The text that has arrived and was not taken yet."""

    __slots__ = ("ended", "idle", "idle_as", "text")

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self.idle: frozenset[str] | None = None
        """While a reader waits with nothing held back: letters that would mean something to it. Text without any of them,
        and that does not end in white space, may go round it."""
        self.idle_as: Kind = "content"
        """What such text is."""

    def more(self) -> Steps[bool]:
        """Wait for text; False at the end."""
        had = len(self.text)
        while len(self.text) == had and not self.ended:
            yield
        return len(self.text) > had

    def until(self, markers: Markers, emit: Emit, *, plain: Kind | None = None) -> Steps[str | None]:
        """Emit what comes before the first marker, and take the marker; None at the end of the text.

        Nothing is held back longer than it may be the beginning of a marker.

        Args:
            markers: What to look for.
            emit: Takes the text, which is all of one kind.
            plain: That kind, where such text may go round the reader.
        """
        while True:
            found = markers.find(self.text)
            if found is not None:
                at, marker = found
                emit(self.text[:at])
                self.text = self.text[at + len(marker) :]
                return marker
            keep = markers.held(self.text)
            emit(self.text[: len(self.text) - keep])
            self.text = self.text[len(self.text) - keep :]
            if plain is not None and not keep and (not isinstance(emit, Trimmed) or emit.settled):
                self.idle, self.idle_as = markers.firsts, plain
            more = yield from self.more()
            self.idle = None
            if not more:
                emit(self.text)
                self.text = ""
                return None

    def match(self, pattern: regex.Pattern[str], *, take: bool = True) -> Steps[regex.Match[str] | None]:
        """Take what the pattern matches at the beginning; None, with nothing taken, as soon as it cannot.

        The pattern must end in something definite: what it matches may not grow with more text.
        """
        while True:
            found = pattern.match(self.text, partial=not self.ended)
            if found is None:
                return None
            if not found.partial:
                if take:
                    self.text = self.text[found.end() :]
                return found
            yield from self.more()

    def space(self) -> Steps[str | None]:
        """Take the white space that text begins with; None, with nothing taken, if nothing else ever comes."""
        found = yield from self.match(_SPACE)
        return None if found is None else found.group()

    def ahead(self, markers: Markers) -> Steps[tuple[int, str] | None]:
        """Wait for a marker and say where it stands, with nothing taken; None at the end of the text."""
        while True:
            found = markers.find(self.text)
            if found is not None:
                return found
            if not (yield from self.more()):
                return None

    def rest(self, emit: Emit) -> Steps[None]:
        """Emit everything from here on."""
        while True:
            emit(self.text)
            self.text = ""
            self.idle, self.idle_as = frozenset(), "content"
            more = yield from self.more()
            self.idle = None
            if not more:
                return

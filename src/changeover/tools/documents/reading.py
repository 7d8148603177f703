"""A file while it is read: what a format's reader is given, and where its pages go."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from changeover.core.errors import DocumentError
from changeover.tools.documents.reader import Limits
from changeover.tools.documents.wire import OcrMode, PageRead, PagesDone

SECTION_CHARS = 3_000
"""Of a page, where a format has none."""
MOST_NOTES = 40

_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200b\u2060\ufeff]")
_INVISIBLE = re.compile(r"[\U000e0000-\U000e0fff\u2061-\u2064\u2066-\u206f\u202a-\u202e]")
"""Tags that spell words nobody sees, and marks that turn the order of what is read."""
_SPACE_AT_END = re.compile(r"(?<![ \t])[ \t]++(?=\n)")
_MANY_BREAKS = re.compile(r"\n{4,}")


def in_places(count: int) -> str:
    """`1 place`, `2 places`."""
    return f"{count} place{'' if count == 1 else 's'}"


@dataclass
class Reading:
    """One file under way, within its limits."""

    name: str
    limits: Limits
    ocr: OcrMode
    tell: Callable[[PageRead | PagesDone], None]
    title: str | None = None
    notes: list[str] = field(default_factory=list[str])
    within: str = ""
    """Label of the attachment that is read, before the labels of its pages."""
    pages: int = 0
    chars: int = 0

    def page(self, label: str, text: str, *, ocr: bool = False, confidence: float | None = None) -> None:
        """One more page.

        Raises:
            DocumentError: It is one too many, or its text is.
        """
        text = self.cleaned(text)
        self.pages += 1
        self.chars += len(text)
        self.expect(self.pages)
        if self.chars > self.limits.most_chars:
            raise DocumentError(
                f"`{self.name}` has more than {self.limits.most_chars:,} characters of text, the most that is read. "
                "Split it."
            )
        self.tell(PageRead(label=self.within + label, text=text, ocr=ocr, confidence=confidence))

    def sections(self, blocks: list[str], label: str = "section {}") -> None:
        """Pages of text that has none: blocks, in their order, about so many characters in each."""
        room = max(1, self.limits.most_pages - self.pages - 1)
        size = max(SECTION_CHARS, -(-sum(len(each) + 2 for each in blocks) // room) + SECTION_CHARS // 10)
        held: list[str] = []
        chars = number = 0
        for block in (piece for each in blocks for piece in pieces(each, size)):
            if held and chars + len(block) > size:
                number += 1
                self.page(label.format(number), "\n\n".join(held))
                held, chars = [], 0
            held.append(block)
            chars += len(block) + 2
        if held or not number:
            self.page(label.format(number + 1), "\n\n".join(held))

    def expect(self, pages: int) -> None:
        """Say how many pages there will be, before they are read.

        Raises:
            DocumentError: They are too many.
        """
        if pages > self.limits.most_pages:
            raise DocumentError(
                f"`{self.name}` has {'at least ' if pages == self.pages else ''}{pages:,} pages; at most "
                f"{self.limits.most_pages:,} are read. Split it."
            )

    def progress(self, done: int, of: int) -> None:
        """Tell whoever waits."""
        self.tell(PagesDone(done=done, of=of))

    def note(self, text: str) -> None:
        """Something that a reader should know; said once."""
        text = self.within + text
        if text not in self.notes and len(self.notes) < MOST_NOTES:
            self.notes.append(text)

    def cleaned(self, text: str) -> str:
        """Text without what nobody sees, one kind of line break in it."""
        text = _CONTROL.sub("", _BREAKS.sub("\n", text))
        text, hidden = _INVISIBLE.subn("", text)
        if hidden:
            self.note("characters that nobody sees were left out")
        text = _MANY_BREAKS.sub("\n\n\n", _SPACE_AT_END.sub("", text))
        return unicodedata.normalize("NFC", text).rstrip().lstrip("\n")

    def broken(self, what: str, why: str = "") -> DocumentError:
        """The error of a file that ends too early, or holds what its kind cannot hold."""
        because = f" ({why})" if why else ""
        return DocumentError(
            f"`{self.name}` is damaged: it cannot be read as {what}{because}. Save it again with the program that made it."
        )

    def empty(self) -> DocumentError:
        """The error of a file without a word in it."""
        return DocumentError(f"`{self.name}` holds no text. If its text is in pictures, send them, or a PDF of it.")


def pieces(block: str, size: int) -> list[str]:
    """A block, cut at line ends, else at spaces, where it is longer than a page."""
    if len(block) <= size:
        return [block]
    cut: list[str] = []
    start = 0
    while len(block) - start > size:
        end = block.rfind("\n", start + size // 2, start + size)
        end = end if end >= 0 else block.rfind(" ", start + size // 2, start + size)
        end = end if end >= 0 else start + size
        cut.append(block[start:end])
        start = end
    return [*cut, block[start:]]


def out_of_memory(name: str) -> str:
    """The sentence for a file that needs more than there is."""
    return f"`{name}` needs more memory to be read than a reader may use. Split it, or save it in a simpler form."

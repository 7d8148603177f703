"""The text of an answer, out of its tokens: no half characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Final

HALF: Final = "\ufffd"
"""What tokenizers write for bytes that are not a character, or not yet."""
_MOST_BYTES: Final = 4
"""Of a character in UTF-8. So many tokens may each hold a part of one."""


class Pieces:
    """Takes tokens one by one and gives text away as soon as it cannot change any more."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        """Begin an answer.

        Args:
            decode: Text of some tokens in a row, with a `HALF` at its end for a character that is not whole.
            stops: Where one of these begins, the answer ends.
        """
        self._decode = decode
        self._stops = [stop for stop in stops if stop]
        self._tokens: list[int] = []
        self._before = 0
        """Where the tokens begin that are decoded together: some decoders treat the first one otherwise."""
        self._given = 0
        """Tokens whose text was given away."""
        self._held = ""
        """Text that may be the beginning of a stop string."""
        self.stopped = False
        """A stop string has come; there is no more text."""

    def push(self, token: int) -> str:
        """The text that is certain with one more token; may be empty."""
        if self.stopped:
            return ""
        self._tokens.append(token)
        return self._certain(self._fresh(whole=False))

    def end(self) -> str:
        """What was held back and turned out to be text. A character of which a part never came is left out."""
        if self.stopped:
            return ""
        text, self._held = self._certain(self._fresh(whole=True).rstrip(HALF)) + self._held, ""
        return text

    def _fresh(self, *, whole: bool) -> str:
        """Text of the tokens since the last time, as far as it is whole characters."""
        known = self._decode(self._tokens[self._before : self._given])
        text = self._decode(self._tokens[self._before :])
        waiting = len(self._tokens) - self._given
        if text.endswith(HALF) and not whole and waiting < 2 * _MOST_BYTES:
            return ""
        self._before, self._given = self._given, len(self._tokens)
        return text[len(known) :]

    def _certain(self, fresh: str) -> str:
        if not self._stops:
            return fresh
        text = self._held + fresh
        # The one that is whole first counts, so that it does not matter how many letters a token has.
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def is_cut(data: bytes) -> bool:
    """Whether a text in UTF-8 ends within a character; it may begin within one."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    decoder.decode(data)
    return bool(decoder.getstate()[0])


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that `stop` begins with."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-size:]):
            return size
    return 0

"""What a terminal was sent, and when: written by the session and read by the pictures, as asciicast version 2."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

COLUMNS, ROWS = 124, 26
FOREIGN = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|var|work|opt|Users|private|mnt)\b|[A-Z]:\\")
"""A path of some machine."""


class CastError(Exception):
    """A recording that must not be kept, or cannot be read."""


@dataclass(frozen=True)
class Output:
    """Text that reached the terminal."""

    at: float
    """Seconds since the start."""
    text: str


@dataclass(frozen=True)
class Cast:
    """A recording."""

    outputs: Sequence[Output]
    title: str
    columns: int = COLUMNS
    rows: int = ROWS

    @property
    def seconds(self) -> float:
        return self.outputs[-1].at if self.outputs else 0.0

    def to_text(self) -> str:
        """JSON lines: a header, then every output."""
        header = {"version": 2, "width": self.columns, "height": self.rows, "title": self.title}
        lines = [json.dumps(header), *(json.dumps([each.at, "o", each.text]) for each in self.outputs)]
        return "\n".join(lines) + "\n"


def read_cast(text: str) -> Cast:
    """Read a recording.

    Raises:
        CastError: It is none, or of another version.
    """
    first, *rest = text.splitlines()
    header = json.loads(first)
    if header.get("version") != 2:
        raise CastError(f"A recording of version {header.get('version')!r} cannot be read; only version 2.")
    outputs = [Output(at, said) for at, kind, said in map(json.loads, rest) if kind == "o"]
    return Cast(outputs, header["title"], header["width"], header["height"])


def digest(text: str) -> str:
    """Of a recording: tells whether a picture was made from it."""
    return hashlib.sha256(text.encode()).hexdigest()


def foreign_words(text: str, names: Iterable[str] = ()) -> Iterator[str]:
    """What in a text belongs to a machine and not to the product: paths, and names that are known."""
    yield from (name for name in names if len(name) > 1 and name in text)
    yield from (found.group() for found in FOREIGN.finditer(text))

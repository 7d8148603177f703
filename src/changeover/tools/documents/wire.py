"""What the gateway and a process that reads say to each other: messages with their length before them."""

from __future__ import annotations

from typing import Literal

import msgspec

from changeover.tools.documents.reader import Limits

LENGTH_BYTES = 4
MOST_MESSAGE_BYTES = 64 << 20
"""Of one message from the child, which is believed in nothing: a page, at most."""

OcrMode = Literal["auto", "always", "never"]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the child: read so many bytes, which follow."""

    name: str
    size: int
    limits: Limits
    ocr: OcrMode


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first words of a child, once it is confined."""

    confined: list[str]
    """By what: see `confine`."""


class PageRead(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One more page."""

    label: str
    text: str
    ocr: bool = False
    confidence: float | None = None


class PagesDone(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far it is."""

    done: int
    of: int


class FileRead(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All pages were sent."""

    kind: Literal["pdf", "docx", "pptx", "xlsx", "html", "markdown", "email", "csv", "image", "text"]
    title: str | None
    notes: list[str]


class FileRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file cannot be read; what was sent of it counts for nothing."""

    message: str
    exhausted: bool = False
    """Memory ran out: this process reads nothing more."""


Words = Started | PageRead | PagesDone | FileRead | FileRefused

_encoder = msgspec.msgpack.Encoder()


def packed(message: Ask | Words) -> bytes:
    """A message as it is sent."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body

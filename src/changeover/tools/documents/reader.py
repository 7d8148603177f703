"""Reading a file: what kind it really is, its pages and their text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from changeover.tools.values import Document, File


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of reading one file."""

    most_bytes: int
    most_pages: int
    most_chars: int
    """Of all text together."""
    seconds: float = 120.0
    """For the whole file, beside what pages take that are read as pictures."""
    picture_seconds: float = 30.0
    """For each of those at most."""
    memory_mib: int = 1_024
    """Of the process that reads."""


class Reader(Protocol):
    """Reads files, somewhere that cannot harm this process."""

    async def read(
        self,
        file: File,
        limits: Limits,
        *,
        ocr: Literal["auto", "always", "never"] = "auto",
        on_page: Callable[[int, int], None] | None = None,
    ) -> Document:
        """Read a file.

        Args:
            file: Its name is a hint at most; its content decides.
            limits: What it must keep within.
            ocr: Which pages are read as pictures; `auto`: those without text.
            on_page: Told pages done, and how many there are.

        Raises:
            DocumentError: It is empty, encrypted, broken, too large, of a kind that is not read, or reading it took too
                long; says which, and what to do.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...

"""Plain text and Markdown: as it stands, in sections at its empty lines."""

from __future__ import annotations

import re

from changeover.tools.documents.reading import Reading
from changeover.tools.documents.texts import decoded, encoding_of

_BETWEEN = re.compile(r"\n[ \t]*\n")
_FIRST_HEADING = re.compile(r"\A\s*#\s+(\S[^\n]{0,200})")


def read(data: bytes, reading: Reading) -> None:
    """Read text."""
    text = decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if encoding_of(data) not in {"utf-8", "utf-8-sig"}:
        reading.note(f"its encoding was taken for {encoding_of(data)}")
    heading = _FIRST_HEADING.match(text)
    reading.title = heading[1].strip() if heading is not None else None
    if not text.strip():
        raise reading.empty()
    reading.sections([block for block in _BETWEEN.split(text) if block.strip()])

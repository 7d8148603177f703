"""Code as models write it: in a fenced block, among words, or alone."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)


def unfenced(text: str) -> str:
    r"""What stands in the first fenced block of a text; the whole text where there is none.

    >>> unfenced("Here it is:\n```sql\nSELECT 1;\n```\nDone.")
    'SELECT 1;'
    """
    found = _BLOCK.search(text)
    return (found[2] if found is not None else text).strip()

"""Texts as cells of a table that a spreadsheet program opens."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@")


def inert(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet program would take it for a formula and run it.

    Some programs skip white space before a formula, so that is skipped here, too.
    """
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text

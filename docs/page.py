"""What every generated page has."""

from __future__ import annotations

from collections.abc import Iterable

MARK = "<!-- Written by `make docs` from the code. Edit the code's docstrings, not this page. -->"


def page(parts: Iterable[str]) -> str:
    """Join the parts of a page: its title, the note that it is generated, and the rest."""
    title, *rest = (part for part in parts if part)
    return "\n\n".join([title, MARK, *rest]) + "\n"

"""What is wrong with a file of weights, in words that are safe to show. The readers of its headers raise it."""

from __future__ import annotations


class Damage(Exception):
    """What is wrong with a header, as the middle of a sentence."""


def shown(name: str) -> str:
    """A name from a file, safe for one line of an error."""
    return f"`{name[:60].encode('unicode_escape').decode()}`"

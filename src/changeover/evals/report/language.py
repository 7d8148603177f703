"""The language that a report is written in: English, or one that a room above knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def as_written(text: str) -> str:
    """English, as it stands here."""
    return text


@dataclass(frozen=True, kw_only=True)
class Language:
    """What texts of the report say in a language. Texts of models, datasets and people go through neither function."""

    tag: str = "en"
    text: Callable[[str], str] = as_written
    """A text of a template, with `%(name)s` where values go in."""
    said: Callable[[str], str] = as_written
    """A finished sentence, or the words of a figure."""


ENGLISH = Language()

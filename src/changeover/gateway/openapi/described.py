"""What a person says of one route, for the document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Described:
    """The words for one route."""

    name: str
    summary: str
    about: str
    answers: str
    """What a 200 holds."""
    body: str | None = None
    """Name of the schema of what is sent."""
    answer: str | None = None
    """Name of the schema of a 200; None: text."""
    media: str = "application/json"
    event: str | None = None
    """Name of the schema of one event of a stream; None: there is none."""
    refusals: tuple[int, ...] = ()
    """Statuses besides those that any route may answer."""

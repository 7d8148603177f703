"""What a person says of one route, for the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
    form: str | None = None
    """Name of the schema of a form that is taken as well."""
    accepted: str | None = None
    """Name of the schema of a 202; None: there is none."""
    query: tuple[dict[str, Any], ...] = ()
    """Parameters in the address."""
    refusals: tuple[int, ...] = ()
    """Statuses besides those that any route may answer."""

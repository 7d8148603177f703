"""What a source says of a model, as it was when it was read. Importers write them, nobody edits them; cards stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from changeover.library.facts import Grade

SIGNALS: Final = (
    "signals.downloads_30d",
    "signals.downloads_all_time",
    "signals.likes",
    "signals.finetunes",
    "signals.adapters",
    "signals.merges",
    "signals.quantised",
    "signals.providers",
    "signals.discussions_open",
    "signals.discussions_closed",
    "signals.first_reply_hours",
    "signals.last_commit",
)
"""Facts that change from day to day, which no card holds. Numbers; the last one an ISO date."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One fact by one source."""

    card: str
    """Id of the card, or the source's own name of a model that has none."""
    fact: str
    """A key of the card, dotted where it is nested; or one of `SIGNALS`."""
    value: Any
    """JSON."""
    source: str
    """Name of the importer: `models.dev`, `vllm-recipes`, `hub`, `snapshot`."""
    locator: str
    """Which part of it: a file with its commit, a repository, a row."""
    grade: Grade
    as_of: date | None
    """When it was so, as the source says; None: it does not."""
    seen_at: datetime
    """When it was read."""

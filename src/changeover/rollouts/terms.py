"""What stands in the way of a rollout beside its evidence: terms that somebody above judges, such as a licence's."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection


class Terms(Protocol):
    """Judges whether a variant may answer a task."""

    def __call__(self, connection: Connection, task: str, variant: str) -> str | None:
        """Why it may not, one sentence; None where nothing speaks against it."""
        ...


def no_terms(connection: Connection, task: str, variant: str) -> None:
    """Where nobody judges, nothing speaks against anything."""

"""Routes: who answers a task. The gateway reads them; a switch writes the next revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Side = Literal["incumbent", "candidate", "former", "shadow"]

Action = Literal["start", "shadow", "canary", "promote", "rollback", "abort", "engine"]
"""What made a revision: the first route, a shadow or canary step, a promotion, a return, a stop, a changed engine."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One immutable revision of a task's routing. A switch writes the next revision."""

    revision: int
    """Rises over all tasks of the installation; 0 before it is written."""
    task: str
    incumbent: str
    """Variant id. Answers everything the canary does not."""
    candidate: str | None = None
    former: str | None = None
    """The incumbent before the last promotion: answers where the others cannot, and comes back on a rollback."""
    candidate_weight: float = 0.0
    """Share of requests the candidate answers, 0 to 1. While it is 0 the candidate answers no caller at all."""
    shadow_share: float = 0.0
    """Share of answered requests that are put to the candidate too, once the caller has its answer, 0 to 1."""
    salt: str = ""
    """Fixed over the steps of one rollout, so that a higher weight only moves callers towards the candidate."""
    action: Action
    actor: str
    reason: str
    rollout: int | None = None
    comparison: str | None = None
    created_at: datetime

    def variants(self) -> tuple[str, ...]:
        """Every variant that may answer under this revision, without repeats."""
        named = (self.incumbent, self.candidate, self.former)
        return tuple(dict.fromkeys(variant for variant in named if variant is not None))

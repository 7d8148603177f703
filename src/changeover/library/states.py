"""How far a model has come here: what this installation did with it, and not what anybody says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

State = Literal["declared", "planned", "loads", "served", "evaluated"]
"""`declared`: it has a card. `planned`: it fits here, or was asked for. `loads`: an engine of it was ready. `served`: it
answered a caller. `evaluated`: a comparison with it came to a verdict."""

STATES: Final[tuple[State, ...]] = ("declared", "planned", "loads", "served", "evaluated")
"""In the order in which a model usually comes to them. None is ever taken back."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A state that a model came to, the first time."""

    card: str
    state: State
    at: datetime
    evidence: Mapping[str, Any]
    """What shows it: JSON of a few names and numbers, no text of a request or an answer."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Everything that a card has reached."""

    card: str
    reached: Sequence[Reached]
    """In the order of `STATES`; those that it skipped are not there."""

    @property
    def state(self) -> State:
        """The furthest."""
        return self.reached[-1].state if self.reached else "declared"

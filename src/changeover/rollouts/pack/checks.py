"""One line of a verification: what was checked, whether it holds, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found of one thing."""

    name: str
    holds: bool | None
    """None: it could not be checked, and `says` why; that is no failure."""
    says: str


def found(name: str, differs: Sequence[str], otherwise: str) -> Check:
    """A check that holds where nothing differs."""
    if not differs:
        return Check(name=name, holds=True, says=otherwise)
    more = f"; and {len(differs) - MOST_SHOWN} more" if len(differs) > MOST_SHOWN else ""
    return Check(name=name, holds=False, says="; ".join(differs[:MOST_SHOWN]) + more)


def unknown(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(name=name, holds=None, says=why)

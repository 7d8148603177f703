"""What a recommendation says of one model: what it must have, where it could run, how it stands beside the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from changeover.app.recommending.needs import Needs
from changeover.app.scoring import Scored

State = Literal["pass", "fail", "unknown"]

Tier = Literal[
    "proven here", "could run now", "needs an engine", "needs more", "unknown", "not as good here", "ruled out"
]

TIERS: Final[tuple[Tier, ...]] = (
    "proven here",
    "could run now",
    "needs an engine",
    "needs more",
    "unknown",
    "not as good here",
    "ruled out",
)
"""The order of the list. The last two say why not."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a model must have for the task."""

    name: str
    state: State
    says: str
    """In words, with the figure that decided."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One way in which models are held against each other. None is ever added to another."""

    name: str
    value: float | None
    """More is better; None: not known."""
    says: str


@dataclass(frozen=True, kw_only=True)
class Own:
    """What this installation found out about a model."""

    verdict: str | None = None
    """Of the newest comparison with today's incumbent on today's cases: `pass`, `fail`, `inconclusive`."""
    difference: float | None = None
    """Candidate minus incumbent, share of the score."""
    samples: int = 0
    comparison: str | None = None
    on: date | None = None
    earlier: str | None = None
    """What a comparison with another incumbent, or on other cases, said; in words."""
    score: float | None = None
    """Mean of its kept scores on the task's cases, 0 to 1."""
    scored: int = 0
    """Cases that it is the mean of."""
    elsewhere: tuple[str, ...] = ()
    """Verdicts on other tasks, in words."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where it could run."""

    state: Literal["now", "engine", "more", "unknown"]
    """`engine`: it fits, and what runs it or its files have to be set up. `more`: other hardware, or a host."""
    says: str
    deployment: str | None = None
    """One that is there already."""
    command: str | None = None
    """What brings it there, if it is not."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One model for the task."""

    name: str
    """Of the card."""
    scored: Scored
    tier: Tier
    front: int
    """1: nothing in its tier is known to be at least as good in quality and in everything else that is known of it."""
    beaten_by: str | None
    """One that is, where there is one."""
    checks: tuple[Check, ...]
    place: Place
    own: Own
    axes: tuple[Axis, ...]
    why: tuple[str, ...]
    why_not: tuple[str, ...]
    next: str
    """The command that goes on with it."""


@dataclass(frozen=True, kw_only=True)
class Shortlist:
    """What is recommended for one task."""

    needs: Needs
    incumbent: str
    """Who answers now, or will first where the project was not started yet."""
    incumbent_score: float | None
    hardware: str
    index: str | None
    """The index and version by which models are held against each other; None: no figures."""
    notes: tuple[str, ...]
    choices: tuple[Choice, ...]
    """By tier, then by front, then in the order of the axes."""

"""What a policy and a licence say of each other: an outcome, and every reason with its clause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from changeover.library.facts import Grade

Outcome = Literal["allow", "duties", "person", "deny"]
"""`allow`. `duties`: allowed, and something must be done. `person`: nobody may go on until somebody has obtained a
licence or decided. `deny`."""

OUTCOMES: Final[tuple[Outcome, ...]] = ("allow", "duties", "person", "deny")
"""Mildest first: the outcome of a judgement is the severest of its reasons'."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One clause, or one rule of the policy, and what it means here."""

    outcome: Outcome
    about: str = "licence"
    """What it is about, in a few words."""
    says: str
    """What it means for this organisation, one sentence."""
    model: str
    """Id of the card whose terms these are: the model's own or one that it was made from."""
    licence: str | None
    """None: a rule of the policy itself."""
    clause: str | None
    quote: str | None
    source: str | None
    """Where the words were read."""
    grade: Grade | None = None
    """How near to the licence's own text that was."""
    warning: bool = False
    """Whether it is a doubt that blocks nothing: a freer licence than that of what the model was made from."""
    settled: str | None = None
    """By whom and when a person settled it; then its outcome is `allow` or `duties`."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What may be done with a model here, for one task or for anything."""

    model: str
    task: str | None
    reasons: tuple[Reason, ...]
    policy: bool
    """Whether there is a policy at all; without one nothing about the organisation is known."""

    @property
    def outcome(self) -> Outcome:
        """The severest of its reasons' outcomes."""
        return "allow" if self.deciding is None else self.deciding.outcome

    @property
    def deciding(self) -> Reason | None:
        """The first of the severest reasons; None where there is nothing to say."""
        return max(self.reasons, key=lambda reason: OUTCOMES.index(reason.outcome), default=None)

    @property
    def allowed(self) -> bool:
        """Whether it may be used now."""
        return self.outcome in ("allow", "duties")

    @property
    def duties(self) -> tuple[Reason, ...]:
        """What must be done by whoever uses it here."""
        return tuple(reason for reason in self.reasons if reason.outcome == "duties")

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """Doubts that block nothing."""
        return tuple(reason for reason in self.reasons if reason.warning)

"""What the lock-in report says. The summary is never shown without the parts that it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from changeover.app.candidates import Cost
from changeover.app.lockin.features import Found
from changeover.app.lockin.shares import Share


@dataclass(frozen=True, kw_only=True)
class Proven:
    """Somebody else who passed the task's gate against who answers now."""

    name: str
    difference: float | None
    on: date
    comparison: str
    deployed: bool
    """Whether its deployment is still there."""


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What it takes to have another model answer a task."""

    model: str | None
    command: str | None
    cost: Cost | None
    """Of the trial that is still needed; None: none is needed, or nobody knows."""
    says: str


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """One task."""

    task: str
    incumbent: str | None
    card: str | None
    proven: tuple[Proven, ...]
    could_try: tuple[str, ...]
    """Models that its policy allows, that fit here or run already, and whose context is long enough."""
    denied: int
    """Models that the policy does not let answer it now."""
    features: tuple[Found, ...]
    leaving: Leaving


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """A closed model that the policy lets answer tasks, for a time."""

    model: str
    tasks: tuple[str, ...]
    by: str
    reason: str
    until: date
    days_left: int
    """Negative: it has ended."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole."""

    since: datetime
    tasks: tuple[TaskReport, ...]
    shares: Mapping[str, tuple[Share, ...]]
    exemptions: tuple[Exemption, ...]
    export: str
    """What can be taken along whatever answers."""

    @property
    def free(self) -> int:
        """Tasks that somebody else has proven to do as well."""
        return sum(bool(each.proven) for each in self.tasks)

    @property
    def after_a_trial(self) -> int:
        """Of the others, those for which something could be tried today."""
        return sum(not each.proven and bool(each.could_try) for each in self.tasks)

    @property
    def unanswered(self) -> int:
        """Tasks that nobody answers yet, so that nothing ties them."""
        return sum(each.incumbent is None for each in self.tasks)

    @property
    def tied(self) -> int:
        """Tasks for which nothing could even be tried."""
        return len(self.tasks) - self.free - self.after_a_trial - self.unanswered

"""How comparisons stand: those that have ended as their record, those under way as far as they are.

What commands and pages show of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.app.matching import labels_of
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    Verdict,
    answers_since,
    compared_samples,
    find_comparison,
    last_sample,
    open_comparisons,
    running_comparison,
)
from changeover.evals.report.build import build_report
from changeover.evals.report.record import ComparisonReport
from changeover.rollouts.decide import ACTIVE
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import load_variants
from changeover.tasks.queries import current_route

SILENT_AFTER = timedelta(minutes=15)
"""A comparison to which nothing was added for so long was interrupted: no answer takes that long."""
OPEN_SINCE = timedelta(days=7)
"""Comparisons without a verdict are looked for no further back: none takes that long."""
MOST_OPEN = 50


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the evidence of a comparison grew, one entry for each sample that could be used."""

    comparison: Comparison
    samples: Sequence[Mapping[str, float]]
    """E-values and interval after each; see `evals.queries.ComparedSample.evidence`."""
    differences: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A comparison without a verdict, as far as it is."""

    comparison: Comparison
    incumbent: str
    """Its deployment."""
    candidate: str
    growth: Growth
    drawn: int
    """Samples, those that could not be used included."""
    failed: int
    """Of those: that somebody could not answer, or that could not be scored."""
    most: int
    """Samples that it takes at most."""
    answers_new: int
    answers_kept: int
    """Answers that were there before it began."""
    last_at: datetime
    """When something was last added."""
    alive: bool
    """False: it was interrupted."""

    @property
    def difference(self) -> float:
        """Mean over the samples that could be used."""
        seen = self.growth.differences
        return sum(seen) / len(seen) if seen else 0.0

    @property
    def evidence(self) -> Mapping[str, float] | None:
        """E-values and interval after the last sample; None before the first."""
        return self.growth.samples[-1] if self.growth.samples else None


def report_of(installation: Installation, comparison: str) -> ComparisonReport:
    """Read a finished comparison's record back.

    Raises:
        GateError: There is no such comparison, or it has no end.
    """
    with installation.store.read() as connection:
        task = installation.tasks.get(find_comparison(connection, comparison).task)
        labels = () if task is None else labels_of(task)
        return build_report(connection, comparison, project=installation.project.settings.name, labels=labels)


def templates_of(installation: Installation) -> Path:
    """Where compiled templates of reports are kept."""
    return installation.project.cache / "templates"


def under_way(connection: Connection, id: str, now: datetime) -> UnderWay:
    """How far a comparison without a verdict is.

    Raises:
        GateError: There is no such comparison.
    """
    comparison = find_comparison(connection, id)
    rows = compared_samples(connection, id)
    usable = [row for row in rows if row.usable]
    ids = [answer for row in rows for answer in _answers(row)]
    new = answers_since(connection, ids, comparison.started_at)
    variants = load_variants(connection, [comparison.incumbent, comparison.candidate])
    last_at = last_sign(connection, comparison)
    return UnderWay(
        comparison=comparison,
        incumbent=variants[comparison.incumbent].deployment,
        candidate=variants[comparison.candidate].deployment,
        growth=Growth(
            comparison=comparison,
            samples=[row.evidence for row in usable],
            differences=[row.candidate_score - row.incumbent_score for row in usable],
        ),
        drawn=len(rows),
        failed=sum(bool(row.detail.get("failed")) for row in rows),
        most=int(comparison.plan.get("max_samples") or comparison.plan.get("max_observations") or 0),
        answers_new=new,
        answers_kept=len(set(ids)) - new,
        last_at=last_at,
        alive=comparison.verdict is None and is_alive(connection, comparison, last_at, now),
    )


def _answers(row: ComparedSample) -> Sequence[int]:
    """All answers of a sample: several of each side where it is repeated, or has several turns."""
    found = [row.incumbent_answer, row.candidate_answer]
    for side in ("incumbent", "candidate"):
        told: Mapping[str, Any] = row.detail.get(side) or {}
        found += told.get("answers") or []
    return found


def last_sign(connection: Connection, comparison: Comparison | Verdict) -> datetime:
    """When something was last added to a comparison."""
    last = last_sample(connection, comparison.id)
    return comparison.started_at if last is None else max(comparison.started_at, last.at)


def is_alive(connection: Connection, comparison: Comparison | Verdict, last_at: datetime, now: datetime) -> bool:
    """Whether a comparison without a verdict is still made: it has not gone silent, and was not begun anew."""
    if now - last_at > SILENT_AFTER:
        return False
    newest = running_comparison(connection, comparison.task, comparison.candidate, comparison.started_at)
    return newest is None or newest.id == comparison.id


def all_under_way(connection: Connection, now: datetime) -> list[Verdict]:
    """Comparisons that are made at this moment, newest first."""
    found = open_comparisons(connection, now - OPEN_SINCE, MOST_OPEN)
    return [each for each in found if is_alive(connection, each, last_sign(connection, each), now)]


def why_no_switch(connection: Connection, comparison: Comparison | Verdict) -> str | None:
    """Why no switch can begin on a comparison, as far as rows tell; None where nothing speaks against it."""
    task = comparison.task
    if comparison.verdict is None:
        return "It has no verdict."
    if comparison.verdict == "fail":
        return "The candidate is not good enough: the incumbent stays."
    if comparison.verdict == "inconclusive":
        return "It is open whether the candidate is good enough: more samples would decide it, until then the incumbent stays."
    route = current_route(connection, task)
    if route is None:
        return f"Nobody answers `{task}` any more."
    if route.incumbent == comparison.candidate:
        return f"The candidate answers `{task}` already."
    if route.incumbent != comparison.incumbent:
        return f"Somebody else answers `{task}` by now: compare the candidate with that."
    newest = latest_rollout(connection, task)
    if newest is not None and newest.state in ACTIVE:
        return f"Rollout {newest.id} of `{task}` is under way: it has to end before another begins."
    return None

"""A trial in words and figures, a line for each task: what commands and pages show of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from changeover.core.clock import span
from changeover.evals.trials import Row, Table
from changeover.rollouts.duration import Course

UNKNOWN = "–"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One task of a trial, as it is written."""

    row: Row
    incumbent: str
    verdict: str
    """Of one that is measured now, how far it is."""
    difference: str
    """In points with its interval, its signs and brackets below those of the other lines."""
    p95: str
    cost: str
    licence: str
    """What the candidate's card says, or that it is denied here."""
    recommendation: str

    @property
    def denied(self) -> bool:
        return self.row.outcome.kind == "denied"

    @property
    def running(self) -> bool:
        return self.row.outcome.kind == "running"


def lines_of(table: Table) -> list[Line]:
    """The lines of a trial's table."""
    parts = zip(table.tried, aligned(table.tried), _costs(table.tried), strict=True)
    return [_line(row, difference, cost, table.licence) for row, difference, cost in parts]


def _line(row: Row, difference: str, cost: str, licence: str | None) -> Line:
    outcome = row.outcome
    verdict, denied = row.verdict, outcome.kind == "denied"
    if denied:
        verdict = UNKNOWN
    if outcome.kind == "running":
        verdict = f"{row.samples} of {row.max_samples}" if row.max_samples else "begins"
    return Line(
        row=row,
        incumbent=outcome.incumbent or UNKNOWN,
        verdict=verdict,
        difference=difference,
        p95=times(outcome.p95_ratio),
        cost=cost,
        licence="denied" if denied else licence or "unknown",
        recommendation=" ".join(row.recommendation.split()),
    )


def cost_title(table: Table) -> str:
    """What the column of costs is of: where no price is declared, it is tokens alone."""
    return "tokens" if all(row.outcome.cost_by != "price" for row in table.tried) else "cost"


def took(table: Table) -> str:
    """What a trial took, beside what tests of fixed size would have, and what it holds."""
    kept = f" + {table.calls_kept:,} kept" if table.calls_kept else ""
    fixed = "" if table.calls_fixed_n is None else f" (fixed N: {table.calls_fixed_n:,})"
    return (
        f"{span(table.seconds)} · {table.calls_new:,} calls{kept}{fixed} · "
        f"false switches held at {100 * table.rate:g} %"
    )


def counts_of(table: Table) -> Mapping[str, int]:
    """How many tasks ended how; those of which there are none included."""
    return {
        "could switch today": table.count("switch", "switch if wanted"),
        "keep": table.count("keep"),
        "undecided": table.count("undecided") - table.to_go,
        "denied": table.denied,
        "not tried": table.count("none") - table.denied,
        "to go": table.to_go,
    }


def to_switch(table: Table, courses: Mapping[str, Course]) -> Sequence[str]:
    """Tasks that a trial recommends to switch, and that no rollout of it has taken up."""
    return [row.task for row in table.tried if row.holds and row.task not in courses]


def document(table: Table, courses: Mapping[str, Course]) -> dict[str, Any]:
    """The same facts for programs."""
    return {
        "trial": table.trial,
        "candidate": table.candidate,
        "started_at": table.started_at,
        "ended_at": table.ended_at,
        "seconds": table.seconds,
        "calls_new": table.calls_new,
        "calls_kept": table.calls_kept,
        "calls_fixed_n": table.calls_fixed_n,
        "false_switches": table.rate,
        "licence": table.licence,
        "tasks": [{**_facts(row), "changeover": courses.get(row.task)} for row in table.tried],
        "left_out": list(table.left_out),
    }


def aligned(rows: Sequence[Row]) -> list[str]:
    """Differences with their intervals, their signs and brackets below each other."""
    parts = [_parts(row) for row in rows]
    known = [part for part in parts if part is not None]
    sizes = [max((len(part[place]) for part in known), default=0) for place in range(3)]
    return [
        UNKNOWN if part is None else f"{part[0]:>{sizes[0]}}  [{part[1]:>{sizes[1]}}, {part[2]:>{sizes[2]}}]"
        for part in parts
    ]


def times(ratio: float | None) -> str:
    """A ratio of candidate over incumbent."""
    if ratio is None:
        return UNKNOWN
    return f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"


def _costs(rows: Sequence[Row]) -> list[str]:
    """Ratios of costs; beside those by declared prices, those by tokens alone say so."""
    mixed = {row.outcome.cost_by for row in rows} >= {"price", "tokens"}
    return [
        f"{times(row.outcome.cost_ratio)}{' tok' if mixed and row.outcome.cost_by == 'tokens' else ''}" for row in rows
    ]


def _parts(row: Row) -> tuple[str, str, str] | None:
    """Difference, and the ends of its interval rounded outwards, in points."""
    if row.difference is None or row.low is None or row.high is None:
        return None
    # Rounded first: 0.29 is 28.999… points.
    low, high = math.floor(round(100 * row.low, 6)), math.ceil(round(100 * row.high, 6))
    return _signed(row.difference), _whole(low), _whole(high)


def _signed(share: float) -> str:
    shown = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


def _whole(points: int) -> str:
    return f"{points:+d}".replace("-", "−") if points else "0"


def _facts(row: Row) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(row).items() if name != "outcome"}
    return {**facts, **asdict(row.outcome)}

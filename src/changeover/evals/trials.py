"""A trial's judgement: what each task's comparison says, which switches hold together, what is recommended. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from changeover.evals.multiplicity import RATE, e_bh
from changeover.evals.queries import ComparedSample, Comparison, StoredAnswer, Verdict
from changeover.evals.replay import weighed

FEWEST = 6
"""Pairs of answers below which no ratio of them is given."""

Kind = Literal["waiting", "running", "measured", "failed", "unfit", "denied", "incumbent"]
CostBy = Literal["price", "tokens"]
Advice = Literal["switch", "switch if wanted", "keep", "undecided", "none"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is kept of a trial on one task, beside its comparison."""

    kind: Kind
    """`failed`: it should have been measured and could not be. `unfit`: the candidate cannot serve the task.
    `denied`: the policy or its licence keeps it from the task.
    `incumbent`: it answers the task already."""
    reason: str | None = None
    """Why it was not measured, or is not finished."""
    incumbent: str | None = None
    """Deployment."""
    p95_ratio: float | None = None
    """Time of the 95th percentile of answers to the same samples, candidate over incumbent."""
    cost_ratio: float | None = None
    """Of the same answers, candidate over incumbent."""
    cost_by: CostBy | None = None
    """`price`: by declared prices; `tokens`: completion tokens alone."""
    samples_left: int | None = None
    """That would decide, if they went on as they did."""
    reused: bool = False
    """The verdict was there before the trial."""
    calls_new: int = 0
    calls_kept: int = 0
    """Answers that were there already."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    task: str
    outcome: Outcome
    comparison: str | None = None
    verdict: str = "not tried"
    """`better`, `no worse`, `worse`, `not as good`, `inconclusive`, `not tried`, `waiting`."""
    difference: float | None = None
    """Candidate minus incumbent, share of the score."""
    low: float | None = None
    high: float | None = None
    """95 % anytime-valid interval."""
    samples: int = 0
    max_samples: int = 0
    no_worse: float | None = None
    """E-value where the comparison stopped."""
    calls_fixed_n: int | None = None
    passed: bool = False
    holds: bool = False
    """Whether its switch is among those that hold together."""
    advice: Advice = "none"
    recommendation: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A trial as people read it."""

    trial: int
    candidate: str
    licence: str | None
    """What the candidate's card says; None: unknown."""
    rate: float
    """Expected share of false switches among those that are recommended."""
    started_at: datetime
    ended_at: datetime | None
    rows: tuple[Row, ...]
    """Of all tasks, in order, judged."""

    @property
    def tried(self) -> tuple[Row, ...]:
        """Those that the table shows: of tasks that the candidate does not answer already."""
        return tuple(row for row in self.rows if row.outcome.kind != "incumbent")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Tasks that the candidate answers already."""
        return tuple(row.task for row in self.rows if row.outcome.kind == "incumbent")

    @property
    def to_go(self) -> int:
        """Tasks that have not been measured yet, or not whole."""
        return sum(row.outcome.kind in ("waiting", "running") for row in self.rows)

    @property
    def denied(self) -> int:
        """Tasks that the policy or its licence keeps the candidate from."""
        return sum(row.outcome.kind == "denied" for row in self.rows)

    @property
    def seconds(self) -> float:
        """Spent measuring."""
        return sum(row.outcome.seconds for row in self.rows)

    @property
    def calls_new(self) -> int:
        return sum(row.outcome.calls_new for row in self.rows)

    @property
    def calls_kept(self) -> int:
        return sum(row.outcome.calls_kept for row in self.rows)

    @property
    def calls_fixed_n(self) -> int | None:
        """What tests of fixed size would ask, over the tasks of which that is known."""
        known = [row.calls_fixed_n for row in self.rows if row.calls_fixed_n is not None]
        return sum(known) if known else None

    def count(self, *advice: Advice) -> int:
        """Tasks with this advice."""
        return sum(row.advice in advice for row in self.tried)


def row_of(task: str, outcome: Outcome, comparison: Comparison | Verdict | None) -> Row:
    """A line before it is judged beside the others."""
    if comparison is None or comparison.summary is None:
        return Row(task=task, outcome=outcome, verdict="waiting" if outcome.kind == "waiting" else "not tried")
    return measured_row(task, outcome, comparison.summary, comparison.id)


def measured_row(task: str, outcome: Outcome, summary: Mapping[str, Any], comparison: str | None = None) -> Row:
    """A line of a comparison's summary, whether it has ended or is under way."""
    shown = summary["shown"] if summary["verdict"] != "inconclusive" else None
    return Row(
        task=task,
        outcome=outcome,
        comparison=comparison,
        verdict=shown or summary["verdict"],
        difference=summary["difference"] if summary["samples"] else None,
        low=summary["low"] if summary["samples"] else None,
        high=summary["high"] if summary["samples"] else None,
        samples=summary["samples"],
        max_samples=summary["max_samples"],
        no_worse=summary["no_worse"],
        calls_fixed_n=summary["calls_fixed_n"],
        passed=summary["verdict"] == "pass",
        recommendation=_undecided(outcome, summary) if summary["verdict"] == "inconclusive" else "",
    )


def judged(rows: Sequence[Row], rate: float = RATE) -> tuple[Row, ...]:
    """Recommend: a switch is one that passes by itself and is among those that e-BH holds at the rate.

    Every task that is measured, or shall be, takes part with its e-value where its comparison stopped. One that waits,
    or that broke off, takes part with the capital that every test begins with, 1: leaving it out because of how it went
    would be a choice made with hindsight. Tasks that were never to be measured take no part.
    """
    e_values = {
        row.task: 1.0 if row.no_worse is None else row.no_worse
        for row in rows
        if row.outcome.kind not in ("unfit", "denied", "incumbent")
    }
    together = e_bh(e_values, rate)
    held = sum(row.passed and row.task in together for row in rows)
    return tuple(_advised(row, row.task in together, held, rate) for row in rows)


def _advised(row: Row, in_set: bool, held: int, rate: float) -> Row:
    if row.outcome.kind != "measured":
        undecided: Advice = "undecided" if row.outcome.kind in ("waiting", "running") else "none"
        return replace(row, advice=undecided, recommendation=row.outcome.reason or "")
    if row.verdict == "inconclusive":
        return replace(row, advice="undecided")
    if not row.passed:
        return replace(row, advice="keep", recommendation="keep")
    if not in_set:
        among = f"not among the {held} that hold" if held else "alone it does not hold"
        return replace(row, advice="keep", recommendation=f"keep: {among} at {100 * rate:g} %")
    advice: Advice = "switch" if row.verdict == "better" else "switch if wanted"
    return replace(row, holds=True, advice=advice, recommendation=advice)


def _undecided(outcome: Outcome, summary: Mapping[str, Any]) -> str:
    if summary["doubt"] is not None:
        return f"would pass, but {summary['doubt']}"
    if summary["shown"] in ("better", "no worse"):
        return f"{summary['failed']} of {summary['samples'] + summary['unusable']} samples failed"
    if outcome.samples_left:
        return f"{outcome.samples_left:,} more samples would decide"
    if summary["stopped"] is not None:
        return str(summary["stopped"])
    return "more samples alone would not decide"


def ratios_of(rows: Sequence[ComparedSample], answers: Mapping[int, StoredAnswer]) -> dict[str, Any]:
    """What the candidate's answers take over the incumbent's, of the samples that both answered: fields of `Outcome`.

    The cost is what the comparison noted by the prices of its day; where a price is not declared, completion tokens.
    """
    pairs = [
        (answers[row.incumbent_answer], answers[row.candidate_answer], row)
        for row in rows
        if row.incumbent_answer in answers and row.candidate_answer in answers
    ]
    both = [pair for pair in pairs if pair[0].error is None and pair[1].error is None]
    if len(both) < FEWEST:
        return {}
    p95 = _over(percentile([a.duration_ms for a, _, _ in both]), percentile([b.duration_ms for _, b, _ in both]))
    costs = [(_cost(row, "incumbent"), _cost(row, "candidate")) for _, _, row in both]
    priced = [(a, b) for a, b in costs if a is not None and b is not None]
    if len(priced) == len(both):
        cost, by = _over(sum(a for a, _ in priced), sum(b for _, b in priced)), "price"
    else:
        tokens = [(a.completion_tokens, b.completion_tokens) for a, b, _ in both]
        counted = [(a, b) for a, b in tokens if a is not None and b is not None]
        cost, by = _over(sum(a for a, _ in counted), sum(b for _, b in counted)), "tokens"
    return {"p95_ratio": p95, "cost_ratio": cost, "cost_by": None if cost is None else by}


def percentile(values: Sequence[float], share: float = 0.95) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def samples_left(comparison: Comparison, rows: Sequence[ComparedSample]) -> int | None:
    """How many more samples an undecided comparison takes if they go on as they did; None where nobody can say."""
    return weighed(comparison, rows).test.samples_left()


def _cost(row: ComparedSample, side: Literal["incumbent", "candidate"]) -> float | None:
    return row.detail.get(side, {}).get("cost_usd")


def _over(under: float, over: float) -> float | None:
    return over / under if under > 0 else None

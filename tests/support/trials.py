"""Lines of a trial, as comparisons would leave them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from changeover.evals.trials import Outcome, Row, Table, judged, measured_row, row_of

BEGAN = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)


def summary(claim: str | None, difference: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    """What a comparison keeps when it ends."""
    verdicts = {None: "inconclusive", "better": "pass", "no worse": "pass"}
    return {
        "verdict": verdicts.get(claim, "fail"),
        "shown": claim,
        "difference": difference,
        "low": low,
        "high": high,
        "samples": 60,
        "max_samples": 200,
        "unusable": 0,
        "failed": 0,
        "no_worse": 500.0 if claim in ("better", "no worse") else 0.5,
        "calls_fixed_n": 438,
        "doubt": None,
        "stopped": None,
        **more,
    }


def measured(
    task: str, claim: str | None, difference: float = 0.0, low: float = -0.1, high: float = 0.1, **more: Any
) -> Row:
    """A line of a task that was measured; what `Outcome` does not have goes into the summary."""
    fields = {name: more.pop(name) for name in list(more) if name in Outcome.__dataclass_fields__}
    outcome = Outcome(**{"kind": "measured", "incumbent": "gemma-3-12b", "calls_new": 40, "seconds": 30.0, **fields})
    return measured_row(task, outcome, summary(claim, difference, low, high, **more), f"cmp_{task}")


def unmeasured(task: str, kind: Any, reason: str | None = None, incumbent: str | None = "gemma-3-12b") -> Row:
    return row_of(task, Outcome(kind=kind, reason=reason, incumbent=incumbent), None)


def table(*rows: Row, candidate: str = "qwen3-8b", licence: str | None = "Apache-2.0", ended: bool = True) -> Table:
    """A trial of these lines, judged."""
    return Table(
        trial=9,
        candidate=candidate,
        licence=licence,
        rate=0.1,
        started_at=BEGAN,
        ended_at=BEGAN if ended else None,
        rows=judged(rows),
    )

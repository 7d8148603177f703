"""The usage report's lines as programs and spreadsheets take them, and the hours that it is made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from changeover.core.cells import inert
from changeover.gateway.limits import MICRO
from changeover.gateway.usage_queries import Facet, UsageLine, total_of


def hour_of(at: datetime) -> datetime:
    """The hour that a moment lies in."""
    return at.replace(minute=0, second=0, microsecond=0)


def next_hour(at: datetime) -> datetime:
    """The first hour that begins at a moment or after it."""
    hour = hour_of(at)
    return hour if hour == at else hour + timedelta(hours=1)


def fields_of(facets: Sequence[Facet], line: UsageLine) -> dict[str, Any]:
    """A line by the names of its figures; None where there is no team, or no price."""
    return {
        **{facet: value or None for facet, value in zip(facets, line.of, strict=True)},
        "requests": line.requests,
        "failed": line.failed,
        "prompt_tokens": line.prompt_tokens,
        "completion_tokens": line.completion_tokens,
        "estimated_requests": line.estimated,
        "usd": None if no_price(line) else line.cost_microusd / MICRO,
        "unpriced_requests": line.unpriced,
    }


def no_price(line: UsageLine) -> bool:
    """Whether nobody knows what it cost."""
    return line.unpriced > 0 and line.cost_microusd == 0


def as_csv(facets: Sequence[Facet], lines: Sequence[UsageLine]) -> str:
    """The lines without one for the total: whoever sums a column would count it twice."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([*facets, *list(fields_of((), total_of(())))])
    for line in lines:
        writer.writerow([_cell(value) for value in fields_of(facets, line).values()])
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, str):
        line = " ".join(value.splitlines())  # a lone carriage return begins a row, with whatever comes after it
        return inert(line)
    return "" if value is None else value

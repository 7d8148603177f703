"""The usage report: sums of the counters, by what they were counted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Row, func, select

from changeover.store.schema import keys, usage

Facet = Literal["team", "task", "deployment", "key", "day", "hour"]
FACETS: tuple[Facet, ...] = get_args(Facet)


@dataclass(frozen=True, kw_only=True)
class UsageLine:
    """One line of the report."""

    of: tuple[str, ...]
    """Values of what it was asked by, in order; empty where there is none, such as no team. Days and hours in UTC."""
    requests: int
    failed: int
    """Of `requests`: ended with an error, or broke off."""
    prompt_tokens: int
    completion_tokens: int
    estimated: int
    """Of `requests`: the engine did not say how many tokens; they were counted here."""
    cost_microusd: int
    """Of the requests with a price."""
    unpriced: int
    """Of `requests`: they used tokens of a deployment without a price."""


SUMMED = tuple(each.name for each in fields(UsageLine) if each.name != "of")
"""Its numbers; the table has a column for each."""


def usage_lines(
    connection: Connection, by: Sequence[Facet], since: datetime, until: datetime, *, internal: bool
) -> list[UsageLine]:
    """Sum up the counters of the hours that begin in [since, until), in the order of what they are asked by.

    Args:
        connection: For reading.
        by: What to sum by; one line for each combination.
        since: First hour.
        until: The hour after the last one.
        internal: Shadow, judge and evaluation traffic, or else that of applications.
    """
    columns = [_column(facet).label(f"by_{place}") for place, facet in enumerate(by)]
    sums = [func.coalesce(func.sum(usage.c[name]), 0).label(name) for name in SUMMED]
    query = (
        select(*columns, *sums)
        .select_from(usage.outerjoin(keys, keys.c.id == usage.c.key))
        .where(usage.c.hour >= since, usage.c.hour < until, usage.c.internal.is_(internal))
        .group_by(*(_column(facet) for facet in by))
    )
    found = connection.execute(query)
    return sorted((_line(row, len(by)) for row in found), key=lambda line: line.of)


@dataclass(frozen=True, kw_only=True)
class Hour:
    """What applications asked of one task in one hour."""

    task: str
    hour: datetime
    requests: int
    failed: int
    tokens: int
    cost_microusd: int
    unpriced: int


def hours_of(connection: Connection, since: datetime, task: str | None = None) -> list[Hour]:
    """Traffic by task and hour, from an hour on, of all tasks or of one; internal traffic is left out. Oldest first."""
    query = (
        select(usage.c.task, usage.c.hour, *_SUMS)
        .where(usage.c.hour >= since, usage.c.internal.is_(False))
        .group_by(usage.c.task, usage.c.hour)
        .order_by(usage.c.hour)
    )
    rows = connection.execute(query if task is None else query.where(usage.c.task == task))
    return [Hour(task=row[0], hour=row[1], **_whole(row)) for row in rows]


def deployments_of(connection: Connection, since: datetime, task: str) -> list[tuple[str, Hour]]:
    """Traffic of one task from an hour on by who answered, the most first; an empty name: nobody did."""
    query = (
        select(usage.c.deployment, *_SUMS)
        .where(usage.c.hour >= since, usage.c.internal.is_(False), usage.c.task == task)
        .group_by(usage.c.deployment)
    )
    found = [(row[0], Hour(task=task, hour=since, **_whole(row))) for row in connection.execute(query)]
    return sorted(found, key=lambda each: (-each[1].requests, each[0]))


_SUMS = (
    func.sum(usage.c.requests).label("requests"),
    func.sum(usage.c.failed).label("failed"),
    func.sum(usage.c.prompt_tokens + usage.c.completion_tokens).label("tokens"),
    func.sum(usage.c.cost_microusd).label("cost_microusd"),
    func.sum(usage.c.unpriced).label("unpriced"),
)


def _whole(row: Row[*tuple[Any, ...]]) -> dict[str, int]:
    """Sums as numbers: of a database's own they are decimals."""
    return {column.name: int(getattr(row, column.name)) for column in _SUMS}


def total_of(lines: Sequence[UsageLine]) -> UsageLine:
    """All lines together."""
    return UsageLine(of=(), **{name: sum(getattr(line, name) for line in lines) for name in SUMMED})


def totals_by(lines: Sequence[UsageLine], place: int) -> list[UsageLine]:
    """One line for each value that stands at a place of what they are of, in order: all of that value together."""
    found: dict[str, list[UsageLine]] = {}
    for line in lines:
        found.setdefault(line.of[place], []).append(line)
    return [replace(total_of(each), of=(value,)) for value, each in sorted(found.items())]


def _column(facet: Facet) -> ColumnElement[Any]:
    if facet == "day":
        return func.date(usage.c.hour)
    if facet == "key":
        # Names are for people and several keys may share one; revoked ones still have theirs.
        return func.coalesce(keys.c.name, usage.c.key)
    return usage.c[facet]


def _line(row: Row[Any], facets: int) -> UsageLine:
    of, numbers = row[:facets], [int(number) for number in row[facets:]]
    return UsageLine(of=tuple(map(_text, of)), **dict(zip(SUMMED, numbers, strict=True)))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    return str(value)  # a date is text here and a date there, and reads the same

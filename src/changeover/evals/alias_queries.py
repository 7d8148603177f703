"""Every query on the checks of models under somebody else's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select

from changeover.store.schema import alias_checks

Outcome = Literal["baseline", "same", "changed", "failed"]
MOST_LOOKED_AT = 2_000


@dataclass(frozen=True, kw_only=True)
class AliasCheck:
    """One look at whether a deployment that others run still answers a task as it did."""

    task: str
    variant: str
    deployment: str
    asked: int
    """Calls that were made."""
    changed: int
    """Pinned samples whose answer is not the first one; of the baseline: the second answer."""
    evidence: float
    """For a change since the baseline; an alarm at `alias_evidence.ALARM_AT`."""
    verdict: Outcome
    detail: Mapping[str, Any]
    """What was pinned, what was answered, what it cost, or why it failed."""
    at: datetime


def add_check(connection: Connection, check: AliasCheck) -> None:
    connection.execute(insert(alias_checks).values(**asdict(check)))


def checks_of(connection: Connection, variant: str) -> list[AliasCheck]:
    """Every check of a variant, oldest first."""
    rows = connection.execute(select(alias_checks).where(alias_checks.c.variant == variant).order_by(alias_checks.c.id))
    return [_check(row) for row in rows]


def recent_checks(connection: Connection, task: str | None, limit: int) -> list[AliasCheck]:
    """The newest checks, of one task or of all, newest first."""
    query = select(alias_checks).order_by(alias_checks.c.id.desc()).limit(limit)
    rows = connection.execute(query if task is None else query.where(alias_checks.c.task == task))
    return [_check(row) for row in rows]


def newest_checks(connection: Connection) -> dict[tuple[str, str], AliasCheck]:
    """The newest check of each task on each deployment, among the newest `MOST_LOOKED_AT` of all."""
    seen = (
        select(alias_checks.c.id, alias_checks.c.task, alias_checks.c.deployment)
        .order_by(alias_checks.c.id.desc())
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    newest = select(func.max(seen.c.id)).group_by(seen.c.task, seen.c.deployment)
    rows = connection.execute(select(alias_checks).where(alias_checks.c.id.in_(newest)))
    return {(check.task, check.deployment): check for check in map(_check, rows)}


def _check(row: Row[Any]) -> AliasCheck:
    return AliasCheck(**{field.name: getattr(row, field.name) for field in fields(AliasCheck)})

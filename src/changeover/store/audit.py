"""Who did what, when and why: what people do is noted here, and read beside what rollouts, routes and declarations keep themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Text,
    and_,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    union_all,
)

from changeover.core.errors import ConfigError
from changeover.store.schema import (
    applied,
    audit,
    licence_texts,
    rollout_events,
    rollouts,
    routes,
    trials,
)

Source = Literal["applied", "audit", "licence", "rollout", "route", "trial"]
"""Which table an act stands in. Approvals and overrides are events of their rollout."""
SOURCES: tuple[Source, ...] = get_args(Source)
MOST = 500
"""Acts that are read at once."""
LONGEST_ACTOR = 120
LONGEST_SUBJECT = 200
LONGEST_REASON = 2_000


@dataclass(frozen=True, kw_only=True)
class Act:
    """One thing that somebody did, or that the system did by itself."""

    at: datetime
    source: Source
    id: int
    actor: str
    action: str
    subject: str
    """What it was done to, such as `rollout 12`, `revision 41` or `key invoice-reader`."""
    task: str | None
    reason: str
    detail: Any
    """What else is known of it, as JSON."""

    @property
    def cursor(self) -> str:
        """Reading goes on after it with this."""
        return f"{self.at:%Y%m%dT%H%M%S.%f}-{self.source}-{self.id}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which acts."""

    actor: str | None = None
    """A person or a key's name; `key:NAME` is a key's alone, `oidc:NAME` of whom an identity provider vouches for."""
    tasks: frozenset[str] | None = None
    """What was done to these only; None: everything."""
    action: str | None = None
    of_keys: bool = True
    """Also what was done with keys and teams."""
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    """Older than this act: its `cursor`."""


def note(
    connection: Connection,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    task: str | None = None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Keep that somebody did something which leaves no other row; in the transaction that does it."""
    connection.execute(
        insert(audit).values(
            at=at,
            actor=actor[:LONGEST_ACTOR],
            action=action,
            subject=subject[:LONGEST_SUBJECT],
            task=task,
            reason=reason[:LONGEST_REASON],
            detail=dict(detail or {}),
        )
    )


def acts(connection: Connection, wanted: Wanted, limit: int = 50) -> list[Act]:
    """What was done, newest first: from each table that keeps such, its newest `limit`, and of these the newest.

    Raises:
        ConfigError: `after` is no cursor.
    """
    mark = None if wanted.after is None else _Mark.read(wanted.after)
    most = min(limit, MOST)
    asked = [kept for kept in _KEPT if wanted.tasks is None or kept.task is not None]
    every = union_all(*(select(_newest(kept, wanted, mark, most)) for kept in asked)).subquery()
    newest = select(every).order_by(every.c.at.desc(), every.c.source.desc(), every.c.id.desc())
    return [Act(**row) for row in connection.execute(newest.limit(most)).mappings()]


@dataclass(frozen=True)
class _Mark:
    """The place of an act among all."""

    at: datetime
    source: str
    id: int

    @classmethod
    def read(cls, cursor: str) -> Self:
        try:
            at, source, id = cursor.split("-")
            mark = cls(datetime.strptime(at, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC), source, int(id))
        except ValueError as exc:
            raise ConfigError(f"`{cursor[:80]}` is no place in the audit. Read it from its beginning.") from exc
        if source not in SOURCES or not 0 <= mark.id < 1 << 31:
            raise ConfigError(f"`{cursor[:80]}` is no place in the audit. Read it from its beginning.")
        return mark


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """How acts stand in a table."""

    source: Source
    at: Column[Any]
    id: Column[Any]
    actor: Column[Any]
    action: ColumnElement[str]
    what: str
    """Goes before what it was done to."""
    to: Column[Any]
    task: Column[Any] | None = None
    reason: Column[Any] | None = None
    detail: Column[Any] | None = None

    def rows(self) -> Select[Any]:
        columns: list[ColumnElement[Any]] = [
            self.at.label("at"),
            literal(self.source).label("source"),
            self.id.label("id"),
            self.actor.label("actor"),
            self.action.label("action"),
            literal(self.what).concat(cast(self.to, Text)).label("subject"),
            (cast(null(), Text) if self.task is None else self.task).label("task"),
            (literal("") if self.reason is None else func.coalesce(self.reason, "")).label("reason"),
            (cast(null(), JSON) if self.detail is None else self.detail).label("detail"),
        ]
        return select(*columns)


_KEPT = (
    _Kept(
        source="route",
        at=routes.c.created_at,
        id=routes.c.revision,
        actor=routes.c.actor,
        action=routes.c.action,
        what="revision ",
        to=routes.c.revision,
        task=routes.c.task,
        reason=routes.c.reason,
    ),
    _Kept(
        source="rollout",
        at=rollout_events.c.at,
        id=rollout_events.c.id,
        actor=rollout_events.c.actor,
        action=rollout_events.c.action,
        what="rollout ",
        to=rollout_events.c.rollout,
        task=rollouts.c.task,
        reason=rollout_events.c.reason,
        detail=rollout_events.c.evidence,
    ),
    _Kept(
        source="applied",
        at=applied.c.created_at,
        id=applied.c.revision,
        actor=applied.c.actor,
        action=literal("apply"),
        what="declarations ",
        to=applied.c.revision,
        detail=applied.c.changes,
    ),
    _Kept(
        source="trial",
        at=trials.c.started_at,
        id=trials.c.id,
        actor=trials.c.actor,
        action=literal("trial"),
        what="",
        to=trials.c.candidate,
    ),
    _Kept(
        source="licence",
        at=licence_texts.c.accepted_at,
        id=licence_texts.c.id,
        actor=licence_texts.c.accepted_by,
        action=literal("accept"),
        what="licence of ",
        to=licence_texts.c.card,
        reason=licence_texts.c.reason,
    ),
    _Kept(
        source="audit",
        at=audit.c.at,
        id=audit.c.id,
        actor=audit.c.actor,
        action=audit.c.action,
        what="",
        to=audit.c.subject,
        task=audit.c.task,
        reason=audit.c.reason,
        detail=audit.c.detail,
    ),
)


def _newest(kept: _Kept, wanted: Wanted, mark: _Mark | None, most: int) -> Subquery:
    """The newest acts of one table, by its index on the time."""
    rows = kept.rows()
    if kept.source == "rollout":
        # An event with a revision is the reason of that revision, and stands there.
        rows = rows.join(rollouts, rollouts.c.id == rollout_events.c.rollout).where(rollout_events.c.revision.is_(None))
    elif kept.source == "licence":
        rows = rows.where(kept.at.is_not(None))
    if wanted.actor is not None:
        rows = rows.where(kept.actor.in_([wanted.actor, *(f"{kind}:{wanted.actor}" for kind in ("key", "oidc"))]))
    if wanted.tasks is not None and kept.task is not None:
        rows = rows.where(kept.task.in_(sorted(wanted.tasks)))
    if wanted.action is not None:
        rows = rows.where(kept.action == wanted.action)
    if not wanted.of_keys and kept.source == "audit":
        rows = rows.where(kept.action.not_like("key %"), kept.action.not_like("team %"))
    if wanted.since is not None:
        rows = rows.where(kept.at >= wanted.since)
    if wanted.until is not None:
        rows = rows.where(kept.at < wanted.until)
    if mark is not None:
        before = kept.at < mark.at
        if kept.source < mark.source:
            before = kept.at <= mark.at
        elif kept.source == mark.source:
            before = or_(before, and_(kept.at == mark.at, kept.id < mark.id))
        rows = rows.where(before)
    return rows.order_by(kept.at.desc(), kept.id.desc()).limit(most).subquery()

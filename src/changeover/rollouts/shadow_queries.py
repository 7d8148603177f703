"""Every query on what scorers and judges made of copied requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Integer, exists, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from changeover.rollouts.decide import Rollout
from changeover.store.schema import ARRIVAL, exchanges, shadow_scores
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import exchanges_by_id

FIRST = "00-"
"""How the key of a task's first shadow scorer begins: the one that decides."""


@dataclass(frozen=True, kw_only=True)
class ShadowScore:
    """Both answers to a copied request by one scorer."""

    exchange: str
    """The copy's own."""
    scorer: str
    """See `scorer_key`."""
    rollout: int
    name: str
    incumbent_score: float | None
    candidate_score: float | None
    error: str | None
    """Why there are no scores."""
    at: datetime


def scorer_key(place: int, digest: str) -> str:
    """What tells a scorer from the task's others, and from itself with other options."""
    return f"{place:02d}-{digest[:48]}"


def unscored_pairs(
    connection: Connection, rollout: Rollout, after_seq: int, limit: int
) -> list[tuple[Exchange, Exchange]]:
    """Requests with their copies that nobody has scored, oldest first: both answered, the content of both kept.

    Args:
        connection: For reading.
        rollout: Whose candidate answered the copies.
        after_seq: Copies that arrived before it are known to be done.
        limit: Most pairs.
    """
    arrival = literal_column(ARRIVAL[connection.dialect.name], Integer)
    original = exchanges.alias("original")
    query = (
        select(exchanges.c.id, exchanges.c.shadow_of)
        .join(original, original.c.id == exchanges.c.shadow_of)
        .where(
            arrival > after_seq,
            exchanges.c.task == rollout.task,
            exchanges.c.variant == rollout.candidate,
            exchanges.c.started_at >= rollout.created_at,
            exchanges.c.status < 300,
            exchanges.c.response.is_not(None),
            original.c.request.is_not(None),
            original.c.response.is_not(None),
            ~exists().where(shadow_scores.c.exchange == exchanges.c.id),
        )
        .order_by(arrival)
        .limit(limit)
    )
    ids = [(row.shadow_of, row.id) for row in connection.execute(query)]
    found = exchanges_by_id(connection, [id for pair in ids for id in pair])
    return [(found[original], found[copy]) for original, copy in ids]


def add_shadow_scores(connection: Connection, scores: Sequence[ShadowScore]) -> None:
    """Write scores, in order; those that are there already stay as they are.

    Each is dated after the one before it, whatever the clock says: by that it is known which came first.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for score in scores:
        newest = connection.execute(
            select(func.max(shadow_scores.c.at)).where(shadow_scores.c.rollout == score.rollout)
        ).scalar()
        values = asdict(score)
        if newest is not None and newest >= score.at:
            values["at"] = newest + timedelta(microseconds=1)
        connection.execute(dialect.insert(shadow_scores).values(values).on_conflict_do_nothing())


def shadow_scores_of(connection: Connection, rollout: int, after: datetime | None = None) -> list[ShadowScore]:
    """Scores of a rollout's copied requests, in the order in which they were written; with `after` the later ones only."""
    query = select(shadow_scores).where(shadow_scores.c.rollout == rollout).order_by(shadow_scores.c.at)
    if after is not None:
        query = query.where(shadow_scores.c.at > after)
    return [_score(row) for row in connection.execute(query)]


def differences_of(scores: Iterable[ShadowScore]) -> list[float]:
    """Candidate minus incumbent, -1 to 1, by the first of the task's shadow scorers, of each pair that could be scored.

    In the order in which they were scored, which is that of arrival but for pairs whose judge could not be reached at
    first.
    """
    return [
        score.candidate_score - score.incumbent_score
        for score in scores
        if score.scorer.startswith(FIRST) and score.candidate_score is not None and score.incumbent_score is not None
    ]


def _score(row: Any) -> ShadowScore:
    return ShadowScore(**{field.name: getattr(row, field.name) for field in fields(ShadowScore)})

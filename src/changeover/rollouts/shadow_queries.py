"""Every query on the scores of copied requests."""

from __future__ import annotations

from sqlalchemy import Connection, select

from changeover.store.schema import shadow_scores


def shadow_differences(connection: Connection, rollout: int) -> list[float]:
    """Scores of copied requests, candidate minus incumbent, in order of arrival."""
    rows = connection.execute(
        select(shadow_scores.c.incumbent_score, shadow_scores.c.candidate_score)
        .where(shadow_scores.c.rollout == rollout, shadow_scores.c.error.is_(None))
        .order_by(shadow_scores.c.at, shadow_scores.c.exchange)
    )
    return [row.candidate_score - row.incumbent_score for row in rows]

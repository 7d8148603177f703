"""Overrides: leave to pass a gate, in sight until it ends."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from changeover.evals.queries import passed_since
from changeover.rollouts.actions import By, put_on_hold
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout
from changeover.rollouts.queries import Event, Override, add_event, end_override, find_rollout, open_overrides
from changeover.store.engine import Store

OVER = "its time is over"


def end_overrides(store: Store, by: By) -> None:
    """End overrides that need no longer be in sight, or whose time is over.

    A rollout that still stands before its promotion when the time is over is put on hold. One that is promoted stays:
    taking out a model that answers well is for a person to decide, and the history says that the leave has ended.
    """
    with store.read() as connection:
        open_ones = open_overrides(connection)
        ended = [(each, why) for each in open_ones if (why := _why_ended(connection, each, by.now)) is not None]
    for override, why in ended:
        with store.write() as connection:
            if override.id in (each.id for each in open_overrides(connection)):
                _end(connection, override, why, by)


def _why_ended(connection: Connection, override: Override, now: datetime) -> str | None:
    rollout = find_rollout(connection, override.rollout)
    if rollout is None or rollout.state in ("rolled_back", "aborted", "refused"):
        return f"the rollout is {'gone' if rollout is None else rollout.state.replace('_', ' ')}"
    if override.gate == "evaluation" and passed_since(
        connection, incumbent=rollout.incumbent, candidate=rollout.candidate, since=override.created_at
    ):
        return "the evidence has arrived"
    return OVER if now >= override.expires_at else None


def _end(connection: Connection, override: Override, why: str, by: By) -> None:
    end_override(connection, override.id, because=why, now=by.now)
    reason = f"the override of the {override.gate} by {override.approver} has ended: {why}"
    add_event(
        connection,
        Event(
            rollout=override.rollout,
            at=by.now,
            actor=by.actor,
            action="override ended",
            reason=reason,
            evidence={"override": override.id},
            revision=None,
        ),
    )
    rollout = find_rollout(connection, override.rollout)
    if rollout is not None and why == OVER and _waits_for_promotion(rollout):
        put_on_hold(connection, rollout, "held", By(by.actor, reason, by.now))


def _waits_for_promotion(rollout: Rollout) -> bool:
    return rollout.state in BEFORE_PROMOTION and rollout.hold is None

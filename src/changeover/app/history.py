"""What happened to a task: route revisions with their evidence, and what else its rollouts went through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from changeover.evals.queries import summaries_of
from changeover.rollouts.queries import Event, events_of_task
from changeover.serving.queries import load_variants
from changeover.tasks.queries import route_history
from changeover.tasks.routes import Route


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One thing that happened to a task."""

    revision: int | None
    """Of the route; None: it left everybody's requests where they were."""
    at: datetime
    action: str
    incumbent: str | None
    """Deployment that answers from here on."""
    candidate: str | None
    candidate_weight: float | None
    actor: str
    reason: str
    rollout: int | None
    comparison: str | None
    evidence: Mapping[str, Any] | None
    """Summary of the comparison."""
    seen: Mapping[str, Any] | None
    """What a rollout's decision was made from."""


def history_of(connection: Connection, task: str, limit: int, before: int | None = None) -> list[Happened]:
    """The newest so many revisions of a task, before one where it is given, and what happened between; newest first."""
    routes = route_history(connection, task, limit, before)
    variants = load_variants(connection, {id for route in routes for id in route.variants()})
    names = {id: variant.deployment for id, variant in variants.items()}
    ids = {route.comparison for route in routes if route.comparison is not None}
    summaries = summaries_of(connection, ids)
    since = routes[-1].created_at if len(routes) == limit else None
    happened = [
        event
        for event in events_of_task(connection, task, since)
        if before is None or (routes and event.at <= routes[0].created_at)
    ]
    by_revision = {event.revision: event for event in happened if event.revision is not None}
    rows = [_revised(route, names, summaries, by_revision.get(route.revision)) for route in routes]
    rows += [_without_revision(event) for event in happened if event.revision is None]
    return sorted(rows, key=lambda row: (row.at, row.revision or 0), reverse=True)


def _revised(
    route: Route, names: Mapping[str, str], summaries: Mapping[str, Mapping[str, Any]], event: Event | None
) -> Happened:
    return Happened(
        revision=route.revision,
        at=route.created_at,
        action=route.action,
        incumbent=names[route.incumbent],
        candidate=None if route.candidate is None else names[route.candidate],
        candidate_weight=route.candidate_weight,
        actor=route.actor,
        reason=route.reason,
        rollout=route.rollout,
        comparison=route.comparison,
        evidence=None if route.comparison is None else summaries.get(route.comparison),
        seen=_seen(event),
    )


def _seen(event: Event | None) -> dict[str, Any] | None:
    return None if event is None or not event.evidence else dict(event.evidence)


def _without_revision(event: Event) -> Happened:
    return Happened(
        revision=None,
        at=event.at,
        action=event.action,
        incumbent=None,
        candidate=None,
        candidate_weight=None,
        actor=event.actor,
        reason=event.reason,
        rollout=event.rollout,
        comparison=None,
        evidence=None,
        seen=_seen(event),
    )

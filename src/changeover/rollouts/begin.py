"""Routes that no rollout writes: the first one of a task, and the one after an engine changed under a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from changeover.rollouts.actions import By, abort
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.queries import append_route, current_routes
from changeover.tasks.routes import Route


def begin(connection: Connection, variant: Variant, by: By) -> Route:
    """Write the first route of a task."""
    keep_variant(connection, variant, by.now)
    return append_route(
        connection,
        Route(
            revision=0,
            task=variant.task,
            incumbent=variant.id,
            action="start",
            actor=by.actor,
            reason=by.reason,
            created_at=by.now,
        ),
    )


def follow_engine(connection: Connection, replaced: Mapping[str, Variant], by: By) -> list[Route]:
    """Replace variants whose engine is another one now (an upgrade, other flags) in every route that names them.

    The old engine is gone, so the route has to follow; the revision says that nobody has measured it. A canary whose
    candidate changed is aborted: its evidence was about another bundle.
    """
    revised: list[Route] = []
    for task, route in current_routes(connection).items():
        if not set(route.variants()) & set(replaced):
            continue
        rollout = latest_rollout(connection, task)
        if rollout is not None and rollout.state == "canary":
            route = abort(connection, rollout, replace(by, reason=f"{by.reason}; its evidence no longer holds"))
        named = {id: keep_variant(connection, new, by.now).id for id, new in replaced.items() if new.task == task}
        revised.append(
            append_route(
                connection,
                replace(
                    route,
                    incumbent=named.get(route.incumbent, route.incumbent),
                    former=None if route.former is None else named.get(route.former, route.former),
                    action="engine",
                    actor=by.actor,
                    reason=by.reason,
                    rollout=None,
                    comparison=None,
                    created_at=by.now,
                ),
            )
        )
    return revised

"""Routes that no rollout writes: the first one of a task, and the one after an engine changed under a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from changeover.rollouts.actions import By, abort, is_recheck, recheck
from changeover.rollouts.decide import BEFORE_PROMOTION, Plan
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


def follow_engine(
    connection: Connection, replaced: Mapping[str, Variant], plans: Mapping[str, Plan], by: By
) -> list[Route]:
    """Replace variants whose engine is another one now (an upgrade, other flags) in every route that names them.

    The old engine is gone, so the route has to follow, or nobody would answer. It goes through the gate all the same: a
    rollout is opened, in `held`, that measures what answers now against what is kept of the former bundle. A rollout
    under way is aborted: its evidence was about another bundle.

    Args:
        connection: In a transaction.
        replaced: The variant that takes a variant's place, by the id of the one that it replaces.
        plans: By task; one without has its route follow, and is not rechecked.
        by: Who noticed, and what has changed.
    """
    moved = {id: new for id, new in replaced.items() if new.id != id}
    found = [_follow(connection, route, moved, plans, by) for route in current_routes(connection).values()]
    return [route for route in found if route is not None]


def _follow(
    connection: Connection, route: Route, moved: Mapping[str, Variant], plans: Mapping[str, Plan], by: By
) -> Route | None:
    """Have one task's route follow; None where nothing of it has changed."""
    task, measured = route.task, route.incumbent
    rollout = latest_rollout(connection, task)
    if rollout is not None and rollout.state in BEFORE_PROMOTION:
        if not {*route.variants(), rollout.incumbent, rollout.candidate} & moved.keys():
            return None
        if is_recheck(rollout, route):
            measured = rollout.incumbent  # what came in between was never measured
        route = abort(connection, rollout, replace(by, reason=f"{by.reason}; its evidence no longer holds"))
    if not set(route.variants()) & moved.keys():
        return None
    named = {id: keep_variant(connection, new, by.now).id for id, new in moved.items() if new.task == task}
    revised = append_route(
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
    if task in plans and measured != revised.incumbent and revised.incumbent != route.incumbent:
        said = f"{by.reason}; `changeover resume {task}` measures it against the recorded answers of the former bundle"
        recheck(connection, task, measured, plans[task], replace(by, reason=said))
    return revised

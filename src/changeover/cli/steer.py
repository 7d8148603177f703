"""What promote, abort and rollback share: one transaction by hand, and one line about it."""

from __future__ import annotations

from changeover.app.installation import Installation
from changeover.cli.frame import actor, out, plain, print_json, require
from changeover.cli.running import check_task
from changeover.core.errors import GateError
from changeover.rollouts.actions import By
from changeover.rollouts.decide import BEFORE_PROMOTION, Rollout
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import load_variants
from changeover.tasks.routes import Route


def by_hand(installation: Installation, reason: str, otherwise: str) -> By:
    """Who acts, with a reason."""
    return By(actor=actor(), reason=reason or otherwise, now=installation.clock.now())


def canary_of(installation: Installation, task: str) -> Rollout:
    """The task's rollout that is in its canary.

    Raises:
        GateError: There is none.
    """
    check_task(installation, task)
    with installation.store.read() as connection:
        rollout = latest_rollout(connection, task)
    if rollout is None or rollout.state not in BEFORE_PROMOTION:
        raise GateError(f"`{task}` has no rollout under way. `changeover history {task}` shows what happened.")
    return rollout


def print_route(installation: Installation, route: Route, as_json: bool) -> None:
    """Say who answers now."""
    with installation.store.read() as connection:
        variants = load_variants(connection, route.variants())
    incumbent = require(variants.get(route.incumbent), "The incumbent's variant is gone.")
    if as_json:
        print_json(
            {"task": route.task, "revision": route.revision, "incumbent": incumbent.deployment, "action": route.action}
        )
    else:
        out.print(
            f"{route.task}  revision {route.revision}  {incumbent.deployment} answers  ({route.action}: {plain(route.reason)})"
        )

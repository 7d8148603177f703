"""How each task stands: who answers, who may take over, and what waits for a person. `changeover status` and the console say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.app.licence_checks import not_allowed_now
from changeover.evals.alias_queries import AliasCheck, newest_checks
from changeover.library.licences.words import refusal
from changeover.rollouts.decide import BEFORE_PROMOTION, Hold, Rollout, missing_approvals
from changeover.rollouts.queries import Override, latest_rollouts, open_overrides, who_approved
from changeover.serving.queries import Deployment, all_deployments, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.applied import removed_tasks
from changeover.tasks.queries import current_routes
from changeover.tasks.routes import Route

NeedKind = Literal["nobody", "failed", "not_allowed", "changed", "hold", "approval", "override", "prompt"]
"""In the order of how much they hurt."""
NEEDS: Sequence[NeedKind] = ("nobody", "failed", "not_allowed", "changed", "hold", "approval", "override", "prompt")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One task at this moment."""

    task: str
    route: Route
    variants: Mapping[str, Variant] = field(repr=False)
    """Every variant that its route and its newest rollout name."""
    incumbent_row: Deployment | None
    """None: nobody knows the deployment any more."""
    rollout: Rollout | None
    """The newest one, under way or not."""
    approved: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    """In force, or past their time and not ended yet."""
    not_allowed: str | None = None
    """Why its incumbent may not answer it, by the policy and licences as they are now."""
    prompt_edited: bool = False
    """The files say another prompt or other parameters than those that answer: they wait for a switch."""
    changed: AliasCheck | None = None
    """Others run the incumbent, and the last look found that it answers otherwise than it did."""
    removed: bool = False
    """The newest declarations do not hold it: nobody is answered, until it comes back."""

    @property
    def incumbent(self) -> str:
        """Deployment that answers."""
        return self.variants[self.route.incumbent].deployment

    @property
    def candidate(self) -> str | None:
        """Deployment that the route names as a candidate."""
        return self._named(self.route.candidate)

    @property
    def former(self) -> str | None:
        """Deployment that a rollback would bring back."""
        return self._named(self.route.former)

    @property
    def rollout_candidate(self) -> str | None:
        """Deployment that the newest rollout is about."""
        return None if self.rollout is None else self._named(self.rollout.candidate)

    @property
    def under_way(self) -> Rollout | None:
        """The rollout that may still come to a promotion."""
        return self.rollout if self.rollout is not None and self.rollout.state in BEFORE_PROMOTION else None

    @property
    def hold(self) -> Hold | None:
        """Why the newest rollout waits."""
        return None if self.rollout is None else self.rollout.hold

    @property
    def approvals_missing(self) -> int:
        """People who have still to agree to the rollout under way."""
        return 0 if self.under_way is None else missing_approvals(self.under_way, list(self.approved))

    @property
    def bakes_until(self) -> datetime | None:
        """End of the bake time, during it."""
        if self.rollout is None or self.rollout.state != "baking":
            return None
        return self.rollout.step_started_at + timedelta(seconds=self.rollout.plan.bake_s)

    @property
    def returns(self) -> str | None:
        """Deployment that answers everything after a rollback; None: there is nothing to roll back."""
        return self.former if self.under_way is None else self.incumbent

    @property
    def incumbent_stopped(self) -> bool:
        return self.incumbent_row is not None and self.incumbent_row.desired == "stopped"

    def needs(self) -> Iterator[NeedKind]:
        """What waits for a person, the worst first."""
        if self.incumbent_stopped:
            yield "nobody"
        elif self.incumbent_row is not None and self.incumbent_row.state == "failed":
            yield "failed"
        if self.not_allowed is not None:
            yield "not_allowed"
        if self.changed is not None:
            yield "changed"
        if self.hold is not None:
            yield "hold"
        if self.approvals_missing and not any(each.gate == "approval" for each in self.overrides):
            yield "approval"
        for _ in self.overrides:
            yield "override"
        if self.prompt_edited:
            yield "prompt"

    def _named(self, id: str | None) -> str | None:
        return None if id is None else self.variants[id].deployment


def standings(installation: Installation, only: str | None = None) -> dict[str, Standing]:
    """Every task that has a route, removed ones too, or only one; by name, in order. A few queries, however many tasks."""
    denied = {each.task: refusal(each) for each in not_allowed_now(installation)}
    with installation.store.read() as connection:
        return _standings(installation, connection, denied, only)


def _standings(
    installation: Installation, connection: Connection, denied: Mapping[str | None, str], only: str | None
) -> dict[str, Standing]:
    routes = {name: route for name, route in current_routes(connection).items() if only in (None, name)}
    gone, overrides = removed_tasks(connection), open_overrides(connection)
    newest = {task: rollout for task, rollout in latest_rollouts(connection).items() if task in routes}
    approved = who_approved(connection, (each.id for each in newest.values()))
    rows = {row.name: row for row in all_deployments(connection)}
    ids = {id for route in routes.values() for id in route.variants()}
    variants = load_variants(connection, ids | {each.candidate for each in newest.values()})
    checked = newest_checks(connection)
    found: dict[str, Standing] = {}
    for name, route in sorted(routes.items()):
        rollout, incumbent = newest.get(name), variants[route.incumbent]
        check = checked.get((name, incumbent.deployment))
        named = (*route.variants(), *(() if rollout is None else (rollout.candidate,)))
        found[name] = Standing(
            task=name,
            route=route,
            variants={id: variants[id] for id in named},
            incumbent_row=rows.get(incumbent.deployment),
            rollout=rollout,
            approved=() if rollout is None else tuple(approved.get(rollout.id, ())),
            overrides=tuple(each for each in overrides if each.task == name),
            not_allowed=denied.get(name),
            prompt_edited=_prompt_edited(installation, name, incumbent),
            changed=check if check is not None and check.verdict == "changed" else None,
            removed=name in gone,
        )
    return found


def _prompt_edited(installation: Installation, task: str, incumbent: Variant) -> bool:
    declared = installation.tasks.get(task)
    if declared is None:
        return False
    live = incumbent.bundle
    return (live.prompt, dict(live.parameters)) != (declared.prompt, dict(declared.declared.parameters))

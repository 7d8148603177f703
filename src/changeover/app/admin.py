"""The admin API: what `changeover status`, `switch` and the steering commands do, for programs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from changeover.app import steering
from changeover.app.applied import applied_tasks
from changeover.app.discretion import discreet, hidden_from
from changeover.app.installation import Installation, usable_catalogue
from changeover.app.licence_checks import CurrentTerms
from changeover.app.room import check_room
from changeover.app.steering import NEWEST, Seen
from changeover.core.clock import Clock
from changeover.core.errors import (
    ChangeoverError,
    EngineError,
    GateError,
    PermissionError_,
    UnknownModelError,
    UnknownTaskError,
    nearest,
)
from changeover.gateway.admin import Asked, Override, Steer, Switch
from changeover.gateway.keys import Key
from changeover.rollouts.actions import LONGEST_NAME, By, plan_of, propose
from changeover.rollouts.queries import latest_rollout, rollout_history
from changeover.rollouts.terms import Terms
from changeover.serving.deployments import plan_from_row
from changeover.serving.parts import EnginePart
from changeover.serving.queries import (
    all_deployments,
    keep_variant,
    load_variants,
    want,
)
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.queries import current_route, current_routes, route_history
from changeover.tasks.routes import Route

REVISIONS = 50

_BY_HAND: Mapping[str, Callable[[Store, str, By, Seen], object]] = {
    "pause": steering.pause,
    "abort": steering.abort,
    "rollback": steering.rollback,
    "approve": steering.approve,
}
_ON_TERMS: Mapping[str, Callable[[Store, str, By, Terms, Seen], object]] = {
    "resume": steering.resume,
    "promote": steering.promote,
}


@dataclass(frozen=True)
class Admin:
    """Answers the admin API from the store, as any gateway of an installation can: declarations are those applied."""

    installation: Installation
    """Its declarations are not read."""

    @property
    def store(self) -> Store:
        return self.installation.store

    def __call__(self, asked: Asked) -> Any:
        """Do what is asked for, or look. Takes its time: call it in a thread.

        Raises:
            UnknownTaskError, PermissionError_: No such task, or none of this key's.
            UnknownModelError: No deployment of the name that is switched to.
            GateError: The evidence, the state of the rollout, or the memory that is left does not allow it.
            StoreError: The store cannot be used.
        """
        if asked.task is None:
            return {"tasks": self._states(asked.key)}
        self._check_task(asked.key, asked.task)
        try:
            return self._seen_to(asked, asked.task)
        except ChangeoverError as refusal:
            if asked.key.tasks is not None:
                with self.store.read() as connection:
                    hidden = hidden_from(self.installation, connection, asked.key.tasks)
                refusal.message = discreet(refusal.message, hidden)
            raise

    def _seen_to(self, asked: Asked, task: str) -> Any:
        if asked.told is not None:
            self.act(asked.deed, task, asked.told, _by(asked.key, asked.told.reason, self.installation.clock))
        with self.store.read() as connection:
            return _history(connection, task) if asked.deed == "history" else _state(connection, task)

    def act(self, deed: str, task: str, told: Steer, by: By, seen: Seen = NEWEST) -> None:
        """Do one of `DEEDS`, to nothing else than what was seen. Takes its time: call it in a thread.

        Raises:
            UnknownModelError, GateError, StoreError: See `__call__`.
        """
        if isinstance(told, Switch):
            self._propose(task, told.to, by)
        elif isinstance(told, Override):
            steering.override(self.store, task, told.gate, told.approver, told.expires_at, by, seen)
        else:
            if deed == "rollback":
                steering.start_former(self.store, task, by, seen)
            if deed in _ON_TERMS:
                _ON_TERMS[deed](self.store, task, by, self._terms(), seen)
            else:
                _BY_HAND[deed](self.store, task, by, seen)

    def _terms(self) -> CurrentTerms:
        """By the files as they are now: this process reads no declarations."""
        return CurrentTerms(self.installation.project, self.installation.clock)

    def _propose(self, task: str, to: str, by: By) -> None:
        """Begin a rollout of a deployment with the task's prompt and parameters as they were applied last, or do nothing."""
        project = self.installation.project
        declared = applied_tasks(self.store, project.root).get(task)
        if declared is None:
            raise GateError(f"`{task}` is not declared any more. Bring its file back: `changeover apply`.")
        # Read anew: a card may have been written since this process began.
        installation = replace(self.installation, catalogue=usable_catalogue(project))
        with self.store.write() as connection:
            rows = {row.name: row for row in all_deployments(connection)}
            if to not in rows:
                raise UnknownModelError(
                    f"No deployment named `{to}`. {nearest(to, rows)} `changeover deploy` makes one."
                )
            candidate = Variant.declared(declared, to, EnginePart.from_document(rows[to].engine))
            kept = keep_variant(connection, candidate, by.now)
            if (against := self._terms()(connection, task, kept.id)) is not None:
                raise GateError(against)
            propose(connection, kept, plan_of(declared.declared), by)
            try:
                check_room(installation, connection, plan_from_row(rows[to], installation.catalogue, project.cache))
            except EngineError as exc:
                raise GateError(exc.message) from exc
            want(connection, to, "running", by.now)

    def _check_task(self, key: Key, task: str) -> None:
        """Refuse a task that has no route, or that is not the key's."""
        if key.tasks is not None and task not in key.tasks:
            raise PermissionError_(f"This key may not look at or change `{task[:80]}`.")
        with self.store.read() as connection:
            routes = current_routes(connection)
        if task not in routes:
            raise UnknownTaskError(f"No task named `{task[:80]}`. {nearest(task, key.tasks or routes)}")

    def _states(self, key: Key) -> list[dict[str, Any]]:
        with self.store.read() as connection:
            names = sorted(current_routes(connection))
            return [_state(connection, name) for name in names if key.tasks is None or name in key.tasks]


def _by(key: Key, reason: str, clock: Clock) -> By:
    """Who acts. A name that is too long for the history gives way to the key's id, which nobody else has."""
    named = f"key:{key.name}"
    return By(actor=named if len(named) <= LONGEST_NAME else f"key:{key.id}", reason=reason, now=clock.now())


def _state(connection: Connection, task: str) -> dict[str, Any]:
    """A task's route and its newest rollout."""
    route, rollout = current_route(connection, task), latest_rollout(connection, task)
    assert route is not None, "the task was looked up by its route"
    ids = [*route.variants(), *(() if rollout is None else (rollout.incumbent, rollout.candidate))]
    names = {id: variant.deployment for id, variant in load_variants(connection, ids).items()}
    said: dict[str, Any] = {"task": task, "route": _route(route, names), "rollout": None}
    if rollout is not None:
        events = rollout_history(connection, rollout.id)
        said["rollout"] = {
            **asdict(rollout),
            "incumbent": names[rollout.incumbent],
            "candidate": names[rollout.candidate],
            "last_event": asdict(events[-1]) if events else None,
        }
    return said


def _history(connection: Connection, task: str) -> dict[str, Any]:
    revisions = route_history(connection, task, REVISIONS)
    variants = load_variants(connection, {id for route in revisions for id in route.variants()})
    names = {id: variant.deployment for id, variant in variants.items()}
    return {"task": task, "revisions": [_route(route, names) for route in revisions]}


def _route(route: Route, names: Mapping[str, str]) -> dict[str, Any]:
    """A revision with deployments in place of variants."""
    return {
        "revision": route.revision,
        "incumbent": names[route.incumbent],
        "candidate": None if route.candidate is None else names[route.candidate],
        "candidate_weight": route.candidate_weight,
        "shadow_share": route.shadow_share,
        "former": None if route.former is None else names[route.former],
        "action": route.action,
        "actor": route.actor,
        "reason": route.reason,
        "rollout": route.rollout,
        "comparison": route.comparison,
        "at": route.created_at,
    }

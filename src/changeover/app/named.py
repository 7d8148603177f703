"""Bundles by the names that people give them: a deployment, a variant, a digest, or a place in a task's route."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff

from sqlalchemy import Connection

from changeover.app.deploy import declared_variant
from changeover.app.installation import Installation
from changeover.core.errors import ConfigError, nearest
from changeover.rollouts.decide import BEFORE_PROMOTION
from changeover.rollouts.queries import latest_rollout
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import all_deployments, find_bundles, load_variants
from changeover.tasks.declarations import find_task
from changeover.tasks.queries import current_route, current_routes, route_at
from changeover.tasks.routes import Route

PLACES = ("incumbent", "candidate", "former", "declared")
SHORTEST = 4
"""Digits of a digest that say which one is meant."""
LONGEST_REVISION = 12
"""Digits; no route has more revisions."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A bundle, and what is known of where it stands."""

    name: str
    """As it was asked for."""
    bundle: Bundle
    deployment: str
    task: str | None
    """None: only the engine was named, without any task's prompt and parameters."""


def find_two(installation: Installation, one: str, other: str, task: str | None) -> tuple[Named, Named]:
    """Two bundles by name. A deployment takes prompt and parameters from the task that is named, here or by the other.

    Raises:
        ConfigError: Nothing has that name, or several have.
    """
    found = [_find(installation, name, task) for name in (one, other)]
    known = next((each.task for each in found if each.task is not None), None)
    if known is None or known not in installation.tasks:
        return found[0], found[1]
    again = [
        _find(installation, name, known) if each.task is None else each
        for name, each in zip((one, other), found, strict=True)
    ]
    return again[0], again[1]


def prompt_diff(a: Named, b: Named) -> list[str]:
    """What changed in the prompt, line by line; empty where it is the same."""
    old, new = a.bundle.prompt.splitlines(), b.bundle.prompt.splitlines()
    return list(unified_diff(old, new, f"{a.name} prompt", f"{b.name} prompt", lineterm="", n=2))


def _find(installation: Installation, name: str, task: str | None) -> Named:
    if "@" in name:
        return _in_route(installation, name)
    with installation.store.read() as connection:
        deployments = {row.name: row for row in all_deployments(connection)}
        if name not in deployments:
            return _kept(connection, name, list(deployments))
    if task is None:
        engine = EnginePart.from_document(deployments[name].engine)
        bundle = Bundle(engine=engine, prompt_name="", prompt="", parameters={})
        return Named(name=name, bundle=bundle, deployment=name, task=None)
    find_task(installation.tasks, task)
    return Named(name=name, bundle=declared_variant(installation, task, name).bundle, deployment=name, task=task)


def _kept(connection: Connection, name: str, deployments: list[str]) -> Named:
    """A variant by its id, or a bundle by the first digits of its digest."""
    found = list(load_variants(connection, [name]).values())
    if not found and len(name) >= SHORTEST:
        found = find_bundles(connection, name)
    if len(found) > 1:
        raise ConfigError(f"`{name}` begins the digests of {len(found)} bundles. Write more of it.")
    if not found:
        known = [*deployments, *(f"{task}@incumbent" for task in current_routes(connection))]
        raise ConfigError(
            f"No deployment, variant or bundle named `{name}`. {nearest(name, known)} "
            f"Write a deployment, a digest, or TASK@{'|'.join(PLACES)}|REVISION."
        )
    return Named(name=name, bundle=found[0].bundle, deployment=found[0].deployment, task=found[0].task)


def _in_route(installation: Installation, name: str) -> Named:
    task, _, place = name.partition("@")
    with installation.store.read() as connection:
        route = current_route(connection, task)
        if route is None:
            raise ConfigError(f"`{name}`: no task `{task}` has a route. {nearest(task, current_routes(connection))}")
        incumbent = load_variants(connection, [route.incumbent])[route.incumbent]
        if place != "declared":
            id = _standing(connection, route, place, name)
            variant = load_variants(connection, [id])[id]
            return Named(name=name, bundle=variant.bundle, deployment=variant.deployment, task=task)
    find_task(installation.tasks, task)
    declared = declared_variant(installation, task, incumbent.deployment)
    return Named(name=name, bundle=declared.bundle, deployment=declared.deployment, task=task)


def _standing(connection: Connection, route: Route, place: str, name: str) -> str:
    """Id of the variant that stands at a place of a route."""
    if place.isdecimal() and len(place) <= LONGEST_REVISION:
        found = route_at(connection, route.task, int(place))
        if found is None:
            raise ConfigError(
                f"`{name}`: `{route.task}` has no revision {place}. `changeover history {route.task}` lists them."
            )
        return found.incumbent
    if place not in PLACES:
        raise ConfigError(f"`{name}`: no place `{place}`. Write one of {', '.join(PLACES)}, or a route revision.")
    id = {"incumbent": route.incumbent, "candidate": route.candidate, "former": route.former}[place]
    if id is None and place == "candidate":
        rollout = latest_rollout(connection, route.task)
        id = None if rollout is None or rollout.state not in BEFORE_PROMOTION else rollout.candidate
    if id is None:
        raise ConfigError(
            f"`{name}`: `{route.task}` has no {'former incumbent' if place == 'former' else place} now. "
            f"`changeover history {route.task}` shows who answered when."
        )
    return id

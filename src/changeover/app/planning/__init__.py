"""Planning deployments: for every model how it would run, here, on other hardware, or where somebody hosts it. Pure."""

from __future__ import annotations

from changeover.app.planning.answer import HERE, DeployPlan, Lack, Weights
from changeover.app.planning.ground import Ground, ground_at, ground_of
from changeover.app.planning.here import on_this_machine
from changeover.app.planning.hosted import NEEDS_URL, at_address, at_host
from changeover.app.planning.there import on_hardware
from changeover.app.planning.wish import Wish, engine_named
from changeover.core.errors import ConfigError
from changeover.library.cards import Card
from changeover.library.fit import parse_hardware
from changeover.serving.plan import EnginePlan

__all__ = [
    "DeployPlan",
    "Ground",
    "Lack",
    "Weights",
    "Wish",
    "engine_named",
    "ground_at",
    "ground_of",
    "plan_deployment",
]


def plan_deployment(wish: Wish, ground: Ground) -> DeployPlan:
    """Plan what somebody asks for. Whatever is missing stands in the plan; only a wish that makes no sense is an error.

    Raises:
        ConfigError: An engine, a host, hardware or an option is named that is not there, or two that exclude each other.
        UnknownModelError: No card of that name; the nearest is named.
    """
    if wish.on is not None and wish.on != HERE:
        return on_hardware(wish, ground, ground.catalogue.card(wish.model), parse_hardware(wish.on, ground.catalogue))
    wish = wish.replicated()
    if wish.engine == "openai":
        return _elsewhere(wish, ground)
    if wish.url is not None:
        raise ConfigError("`--url` is the address of a server that runs: say `--engine openai` with it.")
    if wish.engine == "echo":
        return _echo(wish)
    card = ground.catalogue.card(wish.model)
    if wish.engine is None and card.weights == "closed":
        return at_host(wish, ground, card)
    for flag, said in (("--host", wish.host), ("--key-env", wish.key_variable)):
        if said is not None:
            raise ConfigError(f"`{flag}` is for a model that runs elsewhere: say `--engine openai` with it.")
    return on_this_machine(wish, ground, card)


def _elsewhere(wish: Wish, ground: Ground) -> DeployPlan:
    if wish.url is not None or "base_url" in wish.options:
        return at_address(wish, ground)
    card = _card_named(wish.model, ground)
    if card is None:
        raise ConfigError(NEEDS_URL)
    return at_host(wish, ground, card)


def _card_named(name: str, ground: Ground) -> Card | None:
    return next((card for card in ground.catalogue.cards() if card.id == name), None)


def _echo(wish: Wish) -> DeployPlan:
    name = wish.name or wish.model
    plan = EnginePlan(deployment=name, backend="echo", model=wish.model, options=wish.options_of("echo"))
    return DeployPlan(
        deployment=name,
        model=wish.model,
        hardware=HERE,
        engine="echo",
        why="It was asked for: the engine without a model, for trying things out.",
        engine_plan=plan,
    )

"""A plan for a deployment that is there already: it runs as it did."""

from __future__ import annotations

from dataclasses import replace

from changeover.app.installation import Installation
from changeover.app.planning.answer import HERE, DeployPlan, Weights
from changeover.app.planning.sources import made_of, source_of
from changeover.app.planning.wish import Wish
from changeover.app.tunings import threads_of, tunings_here
from changeover.core.errors import ConfigError
from changeover.library.cards import Card
from changeover.library.pull import present
from changeover.serving.deployments import plan_from_row
from changeover.serving.memory import budget_bytes, needed_bytes
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ready_within_s
from changeover.serving.queries import Deployment, all_deployments
from changeover.serving.weights import LOADS, artifact_for, pending


def deployed(installation: Installation, wish: Wish) -> Deployment | None:
    """The deployment that has the name which is asked for; None where the name is free.

    Raises:
        ConfigError: It has another model or engine than the one that is asked for, or an option that no engine of its kind has
            is asked for.
    """
    name = wish.name or wish.model
    with installation.store.read() as connection:
        row = next((row for row in all_deployments(connection) if row.name == name), None)
    asked = wish.replicated()
    if row is None:
        return None
    if wish.model not in (name, row.model):
        raise ConfigError(
            f"`{name}` is deployed already, and is `{row.model}`. Give this one a name of its own, such as "
            f"`--name {name}-2`."
        )
    if asked.engine not in (None, row.backend):
        raise ConfigError(
            f"`{name}` is deployed already, with the engine `{row.backend}`. Give this one a name of its own, such as "
            f"`--name {name}-{asked.engine}`."
        )
    plan = plan_from_row(row, installation.catalogue, installation.project.cache)
    _check_options(plan, asked)
    return row


def _check_options(plan: EnginePlan, asked: Wish) -> None:
    """Refuse what it could not be started with; what only differs from what it has is said, and left."""
    replace(plan, options={**plan.options, **asked.options_of(plan.backend)})


def plan_again(installation: Installation, row: Deployment) -> DeployPlan:
    """Plan to run a deployment again, with the options that it has.

    Raises:
        EngineError: Its card has no weights for its engine any more.
        UnknownModelError: Its card is gone.
    """
    project = installation.project
    plan = plan_from_row(row, installation.catalogue, project.cache)
    card = card_of_plan(installation, plan.model) if plan.backend in LOADS else None
    artifact = None if card is None else artifact_for(card, plan.backend, plan.options)
    weights = None
    if artifact is not None:
        here, making = present(artifact, project.cache), pending(plan)
        weights = Weights(
            format=artifact.format,
            bytes=artifact.size_bytes,
            source=source_of(artifact),
            here=here,
            to_make=None if making is None else made_of(making),
        )
    with installation.store.read() as connection:
        threads = threads_of(row, tunings_here(installation, connection))
    return DeployPlan(
        deployment=row.name,
        model=row.model,
        hardware="elsewhere" if plan.backend == "openai" else HERE,
        engine=plan.backend,
        why="It is deployed already, and keeps the options it has.",
        quantisation=plan.quantisation,
        weights=weights,
        threads=threads,
        needs_bytes=needed_bytes(plan, row.memory_bytes) or None,
        has_bytes=budget_bytes(project.settings.engines.memory_gib),
        command=f"changeover deploy {row.name}",
        ready_s=ready_within_s(plan, installation.backends, project.settings.engines.ready_s),
        engine_plan=plan,
    )


def card_of_plan(installation: Installation, model: str) -> Card | None:
    """The card that a plan's model is; None where it is none's."""
    return next((card for card in installation.catalogue.cards() if card.id == model), None)

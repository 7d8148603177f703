"""A plan for an adapter: no engine of its own, but the one of a deployment that is there."""

from __future__ import annotations

from changeover.app.adapting import ADAPTER, attachment, is_adapter
from changeover.app.installation import Installation
from changeover.app.planning.answer import HERE, DeployPlan, Weights
from changeover.app.planning.here import command_of
from changeover.app.planning.sources import source_of
from changeover.app.planning.wish import Wish
from changeover.core.errors import ConfigError
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.serving.process import ready_deadline_s


def means_adapter(wish: Wish, catalogue: Catalogue) -> bool:
    """Whether an adapter is asked for: by the engine's name, or by a card that has nothing else.

    Raises:
        ConfigError: It is, and as replicas, or with options of an engine of its own.
    """
    named = next((card for card in catalogue.cards() if card.id == wish.model), None)
    if wish.engine != ADAPTER and (wish.engine is not None or named is None or not is_adapter(named)):
        return False
    if wish.replicas > 1 or wish.common or wish.url is not None:
        raise ConfigError(
            f"`{wish.model}` is an adapter: it has the slots, context and replicas of the deployment that it is attached to."
        )
    return True


def plan_attached(installation: Installation, wish: Wish) -> DeployPlan:
    """Plan to attach an adapter.

    Raises:
        EngineError: See `attachment`.
        UnknownModelError: No card of that name; the nearest is named.
    """
    project = installation.project
    found = attachment(installation, installation.catalogue.card(wish.model), name=wish.name, options=wish.options)
    artifact, base = found.artifact, str(found.plan.options["base"])
    here = present(artifact, project.cache)
    return DeployPlan(
        deployment=found.plan.deployment,
        model=wish.model,
        hardware=HERE,
        engine=ADAPTER,
        why=f"An adapter: it shares the engine and the weights of `{base}`.",
        quantisation=found.plan.quantisation,
        weights=Weights(format=artifact.format, bytes=artifact.size_bytes, source=source_of(artifact), here=here),
        needs_bytes=artifact.size_bytes,
        command=command_of(wish, ADAPTER),
        ready_s=ready_deadline_s(found.plan.artifact, project.settings.engines.ready_s),
        engine_plan=found.plan,
    )

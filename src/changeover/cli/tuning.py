"""What `changeover tune` is to measure: a deployment as it is, or a card as it would be deployed."""

from __future__ import annotations

from dataclasses import replace

from changeover.app.installation import Installation
from changeover.core.errors import ConfigError, EngineError, nearest
from changeover.library.pull import artifact_path, present
from changeover.serving.deployments import plan_for_card, plan_from_row
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import all_deployments
from changeover.serving.weights import LOADS


def plans_for(installation: Installation, model: str, engine: str) -> list[EnginePlan]:
    """The plan that a model runs by, and the same with each of its card's other weights that are here.

    Raises:
        UnknownModelError: Neither a deployment nor a card has that name.
        ConfigError: There is no such kind of engine.
        EngineError: Its weights are not here, or it loads none of ours.
    """
    project, catalogue = installation.project, installation.catalogue
    with installation.store.read() as connection:
        rows = {row.name: row for row in all_deployments(connection)}
    if model in rows:
        plan = plan_from_row(rows[model], catalogue, project.cache)
    else:
        plan = plan_for_card(catalogue.card(model), project.cache, project.settings.engines, backend=_backend(engine))
    form = LOADS.get(plan.backend)
    if form is None or plan.artifact is None:
        raise EngineError(f"`{plan.deployment}` loads no weights of ours, so there is nothing to tune.")
    if not plan.artifact.exists():
        raise EngineError(
            f"The weights of `{plan.model}` are not here: `changeover pull {plan.model}`, then ask again."
        )
    others = [
        replace(
            plan,
            artifact=artifact_path(each, project.cache),
            weights_digest=each.sha256,
            quantisation=each.quantisation,
        )
        for each in catalogue.card(plan.model).artifacts
        if each.format == form and each.sha256 != plan.weights_digest and present(each, project.cache)
    ]
    return [plan, *others]


def _backend(engine: str) -> BackendName:
    for name in OPTIONS:
        if name == engine:
            return name
    raise ConfigError(f"No engine named `{engine}`. {nearest(engine, OPTIONS)}")

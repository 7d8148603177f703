"""From a card, or a row, to a plan that an engine can be started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from changeover.core.errors import EngineError
from changeover.core.settings import EngineSettings
from changeover.library.artifacts import Artifact, embeddable
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment


def plan_for_card(
    card: Card,
    cache: Path,
    defaults: EngineSettings,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> EnginePlan:
    """Plan the embedded engine for a card, with the project's defaults under the given options.

    Raises:
        EngineError: The card has no artifact that the embedded engine can load.
    """
    artifact = _embedded(card)
    filled: dict[str, Any] = {"context_tokens": defaults.context_tokens, "slots": defaults.slots}
    if defaults.threads is not None:
        filled["threads"] = defaults.threads
    return EnginePlan(
        deployment=name or card.id,
        backend="local",
        model=card.id,
        artifact=artifact_path(artifact, cache),
        weights_digest=artifact.sha256,
        quantisation=artifact.quantisation,
        options={**filled, **(options or {})},
    )


def plan_from_row(row: Deployment, catalogue: Catalogue, cache: Path) -> EnginePlan:
    """The plan of a deployment that was asked for earlier."""
    if row.backend == "local":
        artifact = _embedded(catalogue.card(row.model))
        path, digest, quantisation = artifact_path(artifact, cache), artifact.sha256, artifact.quantisation
    else:
        path, digest, quantisation = None, None, None
    return EnginePlan(
        deployment=row.name,
        backend=row.backend,  # pyright: ignore[reportArgumentType] - a row holds what a plan held
        model=row.model,
        artifact=path,
        weights_digest=digest,
        quantisation=quantisation,
        options=row.options,
    )


def _embedded(card: Card) -> Artifact:
    artifact = embeddable(card.artifacts)
    if artifact is None:
        raise EngineError(
            f"`{card.id}` has no artifact for the embedded engine. `changeover models {card.id}` shows why."
        )
    return artifact

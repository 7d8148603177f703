"""From a card, or a row, to a plan that an engine can be started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from changeover.core.errors import EngineError
from changeover.core.settings import EngineSettings
from changeover.library.artifacts import Artifact
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment
from changeover.serving.weights import LOADS, adapter_for, artifact_for


def plan_for_card(
    card: Card,
    cache: Path,
    defaults: EngineSettings,
    *,
    backend: BackendName = "local",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> EnginePlan:
    """Plan an engine for a card, with the project's defaults under the given options.

    Raises:
        EngineError: The card has no artifact that this kind of engine can load.
    """
    artifact = _loaded(card, backend)
    known = OPTIONS[backend].model_fields
    said = {"context_tokens": defaults.context_tokens, "slots": defaults.slots, "threads": defaults.threads}
    filled = {key: value for key, value in said.items() if key in known and value is not None}
    return EnginePlan(
        deployment=name or card.id,
        backend=backend,
        model=card.id,
        artifact=artifact_path(artifact, cache),
        weights_digest=artifact.sha256,
        quantisation=artifact.quantisation,
        options={**filled, **(options or {})},
    )


def plan_from_row(row: Deployment, catalogue: Catalogue, cache: Path) -> EnginePlan:
    """The plan of a deployment that was asked for earlier."""
    backend = cast("BackendName", row.backend)  # a row holds what a plan held
    if backend == "adapter":
        artifact = _adapter(catalogue.card(row.model), row)
        path, digest, quantisation = artifact_path(artifact, cache), artifact.sha256, artifact.quantisation
    elif backend in LOADS:
        artifact = _loaded(catalogue.card(row.model), backend)
        path, digest, quantisation = artifact_path(artifact, cache), artifact.sha256, artifact.quantisation
    else:
        path, digest, quantisation = None, None, None
    return EnginePlan(
        deployment=row.name,
        backend=backend,
        model=row.model,
        artifact=path,
        weights_digest=digest,
        quantisation=quantisation,
        options=row.options,
    )


def _adapter(card: Card, row: Deployment) -> Artifact:
    base = cast("BackendName", row.engine["base"]["backend"])  # written when it was described
    artifact = adapter_for(card, base)
    if artifact is None:
        raise EngineError(f"`{card.id}` has no adapter any more that `{base}` holds. `changeover models {card.id}`.")
    return artifact


def _loaded(card: Card, backend: BackendName) -> Artifact:
    artifact = artifact_for(card, backend)
    if artifact is None and any(each.adapter is not None for each in card.artifacts):
        raise EngineError(
            f"`{card.id}` is an adapter: it runs on a deployment of the model that it was trained on. "
            f"`changeover deploy {card.id} --engine adapter`."
        )
    if artifact is None:
        what = "the embedded engine" if backend == "local" else f"`{backend}`"
        raise EngineError(f"`{card.id}` has no artifact for {what}. `changeover models {card.id}` shows why.")
    return artifact

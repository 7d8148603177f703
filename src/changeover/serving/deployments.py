"""From a card, or a row, to a plan that an engine can be started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from changeover.core.errors import EngineError
from changeover.core.settings import EngineSettings
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.pull import artifact_path
from changeover.serving.conversions import Making
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment
from changeover.serving.weights import LOADS, Weights, adapter_for, weights_for


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
    weights = _loaded(card, backend, options or {})
    return EnginePlan(
        deployment=name or card.id,
        backend=backend,
        model=card.id,
        options=_filled(backend, options or {}, defaults),
        **_of(weights, cache),
    )


def plan_from_row(row: Deployment, catalogue: Catalogue, cache: Path) -> EnginePlan:
    """The plan of a deployment that was asked for earlier."""
    backend = cast("BackendName", row.backend)  # a row holds what a plan held
    if backend == "adapter":
        weights = _adapter(catalogue.card(row.model), row)
    else:
        weights = _loaded(catalogue.card(row.model), backend, row.options) if backend in LOADS else None
    return EnginePlan(
        deployment=row.name,
        backend=backend,
        model=row.model,
        options=row.options,
        **_of(weights, cache),
    )


def _filled(backend: BackendName, options: Mapping[str, Any], defaults: EngineSettings) -> Mapping[str, Any]:
    """Options with the project's defaults under them. Ray's replicas have as many threads as cores, so none of ours."""
    if backend == "ray":
        kind = cast("BackendName", options.get("engine", "local"))
        inner = _filled(kind, options.get("options", {}), defaults.model_copy(update={"threads": None}))
        return {**options, "options": inner}
    known = OPTIONS[backend].model_fields
    said = {"context_tokens": defaults.context_tokens, "slots": defaults.slots, "threads": defaults.threads}
    filled = {key: value for key, value in said.items() if key in known and value is not None}
    return {**filled, **options}


class _Loaded(TypedDict, total=False):
    artifact: Path
    weights_digest: str
    quantisation: str
    making: Making | None


def _of(weights: Weights | None, cache: Path) -> _Loaded:
    """What a plan says of weights, wherever they are or will be."""
    if weights is None:
        return _Loaded()
    artifact, making = weights.artifact, weights.making(cache)
    return _Loaded(
        artifact=artifact_path(artifact, cache) if making is None else making.target,
        weights_digest=artifact.sha256,
        quantisation=artifact.quantisation if making is None else making.quantisation,
        making=making,
    )


def _adapter(card: Card, row: Deployment) -> Weights:
    base = cast("BackendName", row.engine["base"]["backend"])  # written when it was described
    artifact = adapter_for(card, base)
    if artifact is None:
        raise EngineError(f"`{card.id}` has no adapter any more that `{base}` holds. `changeover models {card.id}`.")
    return Weights(artifact=artifact, conversion=None)


def _loaded(card: Card, backend: BackendName, options: Mapping[str, Any]) -> Weights:
    weights = weights_for(card, backend, options)
    if weights is None and any(each.adapter is not None for each in card.artifacts):
        raise EngineError(
            f"`{card.id}` is an adapter: it runs on a deployment of the model that it was trained on. "
            f"`changeover deploy {card.id} --engine adapter`."
        )
    if weights is None:
        what = "the embedded engine" if backend == "local" else f"`{backend}`"
        raise EngineError(f"`{card.id}` has no artifact for {what}. `changeover models {card.id}` shows why.")
    return weights

"""Adapters: which deployment one is attached to, its plan, and what may not be stopped while it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.core.errors import EngineError, GateError
from changeover.library.artifacts import Artifact
from changeover.library.cards import Card
from changeover.library.lineage import card_named, plain_name
from changeover.library.pull import artifact_path
from changeover.serving.backends import describe
from changeover.serving.deployments import plan_from_row
from changeover.serving.options import BackendName
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment, all_deployments
from changeover.serving.weights import adapter_for, artifact_for

ADAPTER: BackendName = "adapter"


@dataclass(frozen=True)
class Attachment:
    """How an adapter runs, and the artifact that has to be here before it is described."""

    plan: EnginePlan
    artifact: Artifact


def is_adapter(card: Card) -> bool:
    """Whether a card has adapters and no weights of its own: it runs on another deployment's engine."""
    return bool(card.artifacts) and all(artifact.adapter is not None for artifact in card.artifacts)


def attachment(
    installation: Installation, card: Card, *, name: str | None = None, options: Mapping[str, Any] | None = None
) -> Attachment:
    """Plan an adapter: on the deployment that `base` names, or on the one that runs the model it was trained on.

    Raises:
        EngineError: There is none, or several; or it runs another model, or on an engine that holds no adapters.
    """
    with installation.store.read() as connection:
        rows = {row.name: row for row in all_deployments(connection)}
    base = _named(installation, card, rows, options["base"]) if options and "base" in options else None
    base = base or _found(installation, card, list(rows.values()))
    artifact = adapter_for(card, cast("BackendName", base.backend))
    if artifact is None:
        raise EngineError(
            f"`{card.id}` has no adapter in the form that `{base.backend}` holds, which `{base.name}` runs on. "
            f"`changeover models {card.id}` shows which it has; llama.cpp's `convert_lora_to_gguf.py` makes a GGUF file."
        )
    plan = EnginePlan(
        deployment=name or card.id,
        backend=ADAPTER,
        model=card.id,
        artifact=artifact_path(artifact, installation.project.cache),
        weights_digest=artifact.sha256,
        quantisation=artifact.quantisation,
        options={**(options or {}), "base": base.name},
    )
    return Attachment(plan, artifact)


def engine_of(installation: Installation, plan: EnginePlan) -> EnginePart:
    """The engine's part of a bundle, as `describe` gives it; an adapter's base is looked up.

    Raises:
        ArtifactError, EngineError: See `describe`; or the base is not there.
    """
    if plan.backend == ADAPTER and plan.base is None:
        with installation.store.read() as connection:
            row = base_of(all_deployments(connection), plan)
        plan = replace(plan, base=plan_from_row(row, installation.catalogue, installation.project.cache))
    return describe(plan, installation.backends)


def base_of(rows: Sequence[Deployment], plan: EnginePlan) -> Deployment:
    """The deployment whose engine an adapter shares.

    Raises:
        EngineError: There is none of that name.
    """
    found = next((row for row in rows if row.name == plan.options["base"]), None)
    if found is None:
        raise EngineError(f"`{plan.deployment}` stands on `{plan.options['base']}`, which is not deployed.")
    return found


def check_base_runs(connection: Connection, plan: EnginePlan) -> None:
    """Refuse an adapter whose base does not run: it would wait for ever.

    Raises:
        EngineError: Says what to deploy first.
    """
    if plan.backend == ADAPTER and (base := base_of(all_deployments(connection), plan)).desired != "running":
        raise EngineError(
            f"`{plan.deployment}` is an adapter on `{base.name}`, which does not run: `changeover deploy {base.name}` first."
        )


def check_holds_none(connection: Connection, name: str) -> None:
    """Refuse to stop an engine that adapters need.

    Raises:
        GateError: Names them.
    """
    riders = [row.name for row in all_deployments(connection) if row.desired == "running" and stands_on(row, name)]
    if riders:
        raise GateError(
            f"`{name}` holds {', '.join(f'`{each}`' for each in riders)}: adapters have no engine without it. "
            f"`changeover undeploy {riders[0]}` first."
        )


def stands_on(row: Deployment, base: str) -> bool:
    """Whether a deployment is an adapter on another one's engine."""
    return row.backend == ADAPTER and row.options.get("base") == base


def _named(installation: Installation, card: Card, rows: Mapping[str, Deployment], name: Any) -> Deployment:
    if not isinstance(name, str) or name not in rows:
        known = ", ".join(f"`{each}`" for each in rows) or "none"
        raise EngineError(f"No deployment named `{name}` to attach `{card.id}` to. Deployed: {known}.")
    row = rows[name]
    trained_on = _trained_on(card)
    if not _runs(installation, row, trained_on):
        raise EngineError(
            f"`{card.id}` was trained on `{trained_on}`, and `{name}` runs `{row.model}`. Attach it to a deployment of the "
            "former, or correct `adapter.base` on its card."
        )
    return row


def _found(installation: Installation, card: Card, rows: Sequence[Deployment]) -> Deployment:
    trained_on = _trained_on(card)
    able = [
        row
        for row in rows
        if _runs(installation, row, trained_on)
        and row.desired == "running"
        and installation.backends[cast("BackendName", row.backend)].capabilities.adapters
        and row.backend != ADAPTER
    ]
    plain = [row for row in able if row.name == row.model]
    if len(able) == 1 or plain:
        return (plain or able)[0]
    if able:
        names = ", ".join(f"`{row.name}`" for row in able)
        raise EngineError(f"`{card.id}` can be attached to {names}: say to which with `--option base=…`.")
    base = card_named(installation.catalogue, trained_on)
    how = (
        f"Deploy it first: `changeover deploy {base.id}`."
        if base is not None and artifact_for(base, "local") is not None
        else "Deploy it first."
    )
    raise EngineError(
        f"`{card.id}` is an adapter for `{trained_on}`, and no deployment that holds adapters runs it. {how}"
    )


def _trained_on(card: Card) -> str:
    for artifact in card.artifacts:
        if artifact.adapter is not None:
            return artifact.adapter.base
    raise EngineError(
        f"`{card.id}` is no adapter: none of its artifacts has an `adapter` table. Deploy it without `--engine adapter`."
    )


def _runs(installation: Installation, row: Deployment, model: str) -> bool:
    wanted = card_named(installation.catalogue, model)
    return row.model == wanted.id if wanted is not None else plain_name(row.model) == plain_name(model)

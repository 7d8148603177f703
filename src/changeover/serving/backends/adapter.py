"""A LoRA adapter on the engine of a deployment that runs: no process and no copy of the weights of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from changeover.core.errors import ArtifactError, EngineError
from changeover.library import lora
from changeover.serving.backends.protocol import Attached, Backend, Capabilities, Missing
from changeover.serving.options import AdapterOptions, BackendName, Json, LocalOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import Adapter, EnginePlan
from changeover.serving.profiles import Profile, profile_of_part

SCALED: Final[frozenset[BackendName]] = frozenset({"local", "llama-server"})
"""Kinds of engines in which a request says how much of an adapter counts."""
UNREAD: Final = frozenset({"messages", "embeddings"})
"""Endpoints on which llama.cpp does not read which adapter is meant, or serves another model."""


class AdapterBackend:
    """A LoRA adapter on the engine of a deployment that runs."""

    capabilities = Capabilities(
        chat=True,
        completions=True,
        stop_reasons=True,
        stop_sequences=True,
        usage=True,
        reasoning=True,
        tools=True,
        tools_streamed=True,
        tools_parallel=True,
        json_schema=True,
        logprobs=True,
        context_refused=True,
        cancels=True,
        batches=True,
        seeds=True,
        adapters=True,
        key=True,
    )

    def __init__(self, others: Mapping[BackendName, Backend]) -> None:
        """Set up.

        Args:
            others: Every kind of engine: one of them holds the adapter.
        """
        self._others = others

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        base = None if plan is None else plan.base
        return () if base is None else self._others[base.backend].missing(base)

    def describe(self, plan: EnginePlan) -> EnginePart:
        """What answers is the base's engine with other weights: its part, with the adapter in it.

        Raises:
            ArtifactError: The file is no adapter, or not one of the base's weights.
            EngineError: The base's kind of engine holds no adapters, or not at this scale.
        """
        base, options = plan.base, plan.options_as(AdapterOptions)
        assert base is not None, "it is looked up before an adapter is described"
        assert plan.artifact is not None, "a plan for this backend is refused without a file"
        self._check(plan, base, options)
        part = self._others[base.backend].describe(base)
        return EnginePart(
            backend=plan.backend,
            engine=part.engine,
            engine_version=part.engine_version,
            model=plan.model,
            weights_digest=plan.weights_digest,
            quantisation=part.quantisation,
            tokenizer_digest=part.tokenizer_digest,
            chat_template_digest=part.chat_template_digest,
            flags=part.flags,
            profile=_profile(part, options).document(plan.backend),
            base={
                "backend": part.backend,
                "model": part.model,
                "weights_digest": part.weights_digest,
                "scale": options.scale,
            },
        )

    def launch(self, plan: EnginePlan) -> Attached:
        adapter = Adapter.of(plan)
        lora.read(adapter.artifact)
        return Attached(base=plan.options_as(AdapterOptions).base, adapter=adapter)

    def _check(self, plan: EnginePlan, base: EnginePlan, options: AdapterOptions) -> None:
        where, artifact, weights = f"deployment `{plan.deployment}`", plan.artifact, base.artifact
        if not self._others[base.backend].capabilities.adapters:
            able = ", ".join(sorted(name for name, each in self._others.items() if _holds(name, each)))
            raise EngineError(
                f"{where}: `{base.deployment}` runs on `{base.backend}`, which holds no adapters. These do: {able}. "
                f"Deploy the base on one of them: `changeover deploy {base.model} --engine …`."
            )
        if isinstance(chosen := base.parsed(), LocalOptions) and chosen.embeddings:
            raise EngineError(
                f"{where}: `{base.deployment}` serves embeddings, and an adapter answers in words. Attach it to a "
                f"deployment of `{base.model}` that serves chat."
            )
        if options.scale != 1 and base.backend not in SCALED:
            raise EngineError(
                f"{where}: `{base.backend}` holds an adapter as it is: `scale` must be 1, not {options.scale:g}. "
                "Scale its weights where it was made."
            )
        assert artifact is not None, "a plan for this backend is refused without a file"
        assert weights is not None, "engines that hold adapters need weights"
        _check_files(artifact, weights)


def _check_files(adapter: Path, weights: Path) -> None:
    try:
        lora.check_fits(lora.read(adapter), weights)
    except ArtifactError as exc:
        raise ArtifactError(f"`{adapter.name}`: {exc.message}") from exc


def _holds(name: BackendName, backend: Backend) -> bool:
    return name != "adapter" and backend.capabilities.adapters


def _profile(base: EnginePart, options: AdapterOptions) -> Profile:
    """The base's own, and what an operator says of the adapter."""
    profile = profile_of_part(base)
    endpoints = tuple(each for each in profile.endpoints or ("chat", "completions") if each not in UNREAD)
    document: dict[str, Json] = {**msgspec.to_builtins(profile), "endpoints": endpoints, **options.profile}
    return Profile.from_document(document)

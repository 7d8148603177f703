"""Backends: how each kind of engine is described and launched, by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from changeover import __version__
from changeover.core.digest import sha256_file
from changeover.core.errors import EngineError
from changeover.library.gguf import GgufHeader, read_header
from changeover.serving.parts import EnginePart
from changeover.serving.plan import BackendName, EchoOptions, EnginePlan, Json, LocalOptions, OpenAIOptions
from changeover.serving.profiles import PLAIN, profile_of

LOCAL_SETTINGS: Mapping[str, Json] = {
    "cache_ram_mib": 256,  # prompts kept beside the slots; the engine's own default may grow to 8 GiB
    "ctx_shift": False,  # an over-long prompt is an error and never loses its beginning silently
    "n_batch": 512,  # a prefill is only interrupted between batches, so a caller who left frees the slot sooner
}
"""Settings of the embedded engine that are ours and not the operator's; they are flags of its bundle too."""
NOT_OPENAIS: Sequence[str] = (
    "chat_template_kwargs",
    "enable_thinking",
    "thinking_budget",
    "top_k",
    "min_p",
    "repetition_penalty",
)
"""Fields that other servers know and an echo engine with `unknown_fields = "refuse"` does not."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start an engine's process."""

    argv: tuple[str, ...]
    config: Mapping[str, Json]
    """Goes through the child's standard input. Holds no secret; the process adds its own."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of what every child gets."""
    first_answer: bool = False
    """It is asked something, and has to answer, before it counts as ready for the first time."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """An engine that already runs, and how it is reached."""

    base_url: str
    model: str
    api_key_env: str | None


class Backend(Protocol):
    """One kind of engine."""

    def describe(self, plan: EnginePlan) -> EnginePart:
        """The engine's part of a bundle, without starting it. Reads files."""
        ...

    def launch(self, plan: EnginePlan) -> Launch | Elsewhere:
        """How it is started, or where it already runs. Reads files."""
        ...


class LocalBackend:
    """llama.cpp, embedded through xllamacpp, in a process of its own."""

    def describe(self, plan: EnginePlan) -> EnginePart:
        path = plan.artifact
        assert path is not None, "a plan for this backend is refused without a file"
        header = read_header(path)
        options = plan.options_as(LocalOptions)
        return EnginePart(
            backend=plan.backend,
            engine="llama.cpp (xllamacpp)",
            engine_version=_xllamacpp_version(),
            model=plan.model,
            weights_digest=plan.weights_digest or sha256_file(path),
            quantisation=plan.quantisation,
            tokenizer_digest=header.tokenizer_digest,
            chat_template_digest=header.chat_template_digest,
            # The number of threads is no flag: SmolLM2 gives the same log-probabilities to the last bit with 1 and 2.
            flags={
                "context_tokens": _context_tokens(options, header),
                "slots": options.slots,
                **LOCAL_SETTINGS,
                **_embeddings(options, header),
            },
            profile=_profile(plan, options.profile, architecture=header.architecture, embeddings=options.embeddings),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        path = plan.artifact
        assert path is not None, "a plan for this backend is refused without a file"
        options = plan.options_as(LocalOptions)
        header = read_header(path)
        return Launch(
            argv=_module("changeover.serving.engines.local"),
            config={
                "deployment": plan.deployment,
                "artifact": str(path.absolute()),
                "context_tokens": _context_tokens(options, header),
                "slots": options.slots,
                "threads": options.threads or usable_cores(),
                "settings": LOCAL_SETTINGS,
                **_embeddings(options, header),
            },
            environment={
                "GGML_NO_BACKTRACE": "1",  # a failed assertion would start a debugger
                "GOMP_SPINCOUNT": "1000",  # beside busy cores the default spin costs fifty times the speed
            },
            first_answer=not options.embeddings,  # a model that makes vectors may have no words
        )


class EchoBackend:
    """The engine without a model that ships for tests and demos."""

    def describe(self, plan: EnginePlan) -> EnginePart:
        options = plan.options_as(EchoOptions)
        return EnginePart(
            backend=plan.backend,
            engine="echo",
            engine_version=__version__,
            model=plan.model,
            weights_digest=plan.weights_digest,
            quantisation=plan.quantisation,
            flags=options.model_dump(),
            profile=_profile(plan, _as_told(options)),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        options = plan.options_as(EchoOptions)
        return Launch(
            argv=_module("changeover.serving.engines.echo"),
            config={"deployment": plan.deployment, "model": plan.model, "options": options.model_dump()},
            first_answer=options.memory_mib > 0,  # one that stands in for a model; others count what they are asked
        )


class OpenAIBackend:
    """Any OpenAI-compatible server. What runs behind it cannot be known, so most of its part is None."""

    def describe(self, plan: EnginePlan) -> EnginePart:
        options = plan.options_as(OpenAIOptions)
        return EnginePart(
            backend=plan.backend,
            engine=None,
            engine_version=None,
            model=options.model or plan.model,
            weights_digest=plan.weights_digest,
            quantisation=plan.quantisation,
            flags={"base_url": options.base_url},
            profile=_profile(plan, options.profile, model=options.model),
        )

    def launch(self, plan: EnginePlan) -> Elsewhere:
        options = plan.options_as(OpenAIOptions)
        return Elsewhere(base_url=options.base_url, model=options.model or plan.model, api_key_env=options.api_key_env)


BACKENDS: Mapping[BackendName, Backend] = {
    "local": LocalBackend(),
    "echo": EchoBackend(),
    "openai": OpenAIBackend(),
}


def describe(plan: EnginePlan) -> EnginePart:
    """The engine's part of a bundle, without starting it. Reads the weights' header, and all of them if undigested.

    Raises:
        ArtifactError: The weights are missing or damaged.
        EngineError: The engine's package is not installed.
    """
    return BACKENDS[plan.backend].describe(plan)


def _as_told(options: EchoOptions) -> Mapping[str, Json]:
    """The profile of an echo engine, from its options: those that make it speak as a family does."""
    said: dict[str, Json] = {
        "reasoning": options.reasoning_format,
        "thinks": "always" if options.reasoning_format == "none" else "unless_off",
        "tool_calls": options.tool_format,
        "system_role": "yes" if options.system_role else "no",
        "structured": "none" if options.structured == "ignored" else "response_format",
        "context_tokens": options.context_tokens,
        "dropped": NOT_OPENAIS if options.unknown_fields == "refuse" else (),
    }
    return {**said, **options.profile}


def usable_cores() -> int:
    """Cores this process may run on; not those of the whole machine."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _profile(
    plan: EnginePlan,
    overrides: Mapping[str, Any],
    *,
    model: str | None = None,
    architecture: str | None = None,
    embeddings: bool = False,
) -> Mapping[str, Json]:
    """What is stored of the profile. An operator's own fields win."""
    served = {"endpoints": [*(PLAIN[plan.backend].endpoints or ()), "embeddings"]} if embeddings else {}
    where = f"deployment `{plan.deployment}`: profile"
    profile = profile_of(
        plan.backend, model or plan.model, architecture=architecture, overrides={**served, **overrides}, where=where
    )
    return profile.document(plan.backend)


def _embeddings(options: LocalOptions, header: GgufHeader) -> Mapping[str, Json]:
    """How the vectors of tokens become one, where embeddings are served. Only said there: older bundles stay the same."""
    if not options.embeddings:
        return {}
    own = f"{header.architecture}.pooling_type" in header.metadata
    return {"embeddings": "as the model says" if own else "mean"}


def _context_tokens(options: LocalOptions, header: GgufHeader) -> int:
    """The engine would cap it too, but only after setting memory aside for all that was asked."""
    return min(options.context_tokens, header.context_length or options.context_tokens)


def _module(name: str) -> tuple[str, ...]:
    # -P: a file in the working directory must not pose as a module of ours.
    return (sys.executable, "-P", "-m", name)


def _xllamacpp_version() -> str:
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        raise EngineError("The embedded engine is not installed. Install the package `xllamacpp`.") from None

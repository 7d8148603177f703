"""llama.cpp, embedded through xllamacpp, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from changeover.core.errors import EngineError
from changeover.library.gguf import GgufHeader, read_header
from changeover.serving.backends.common import context_within, module, pooling, usable_cores
from changeover.serving.backends.llama import ENVIRONMENT, EYES_BATCH, part_of, weights_file
from changeover.serving.backends.projector import checked
from changeover.serving.backends.protocol import Capabilities, Launch, Missing, Selection
from changeover.serving.options import Json, LocalOptions
from changeover.serving.parts import EnginePart
from changeover.serving.patch import Patch
from changeover.serving.plan import Adapter, EnginePlan

LOCAL_SETTINGS: Mapping[str, Json] = {
    "cache_ram_mib": 256,  # prompts kept beside the slots; the engine's own default may grow to 8 GiB
    "ctx_shift": False,  # an over-long prompt is an error and never loses its beginning silently
    # A prefill is only interrupted between batches: with the engine's own 2,048 a caller who left in the middle of a long
    # prompt kept its slot for 15 s. Prompts are read as fast with 64 as with 2,048 (docs/log.md).
    "n_batch": 128,
}
"""Settings of the embedded engine that are ours and not the operator's; they are flags of its bundle too."""
NO_ADAPTERS = ("/v1/messages",)
"""Where the server of xllamacpp 2026.10.11549 does not read `lora`: it takes only the fields of Anthropic's that it knows."""
NOT_INSTALLED = Missing(what="the package `xllamacpp`", remedy="Install it with `pip install xllamacpp`.")


class LocalBackend:
    """llama.cpp, embedded through xllamacpp, in a process of its own."""

    capabilities = Capabilities(
        chat=True,
        completions=True,
        stop_reasons=True,
        stop_sequences=True,
        choices=True,
        usage=True,
        reasoning=True,
        tools=True,
        tools_streamed=True,
        tools_parallel=True,
        json_schema=True,
        grammar=True,
        logprobs=True,
        top_logprobs=True,
        embeddings=True,
        context_refused=True,
        cancels=True,
        batches=True,
        seeds=True,
        adapters=True,
        key=True,
    )

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return () if find_spec("xllamacpp") else (NOT_INSTALLED,)

    def describe(self, plan: EnginePlan) -> EnginePart:
        header = read_header(weights_file(plan))
        options = plan.options_as(LocalOptions)
        return part_of(
            plan,
            options,
            header,
            engine="llama.cpp (xllamacpp)",
            version=_version(),
            # The number of threads is no flag: SmolLM2 gives the same log-probabilities to the last bit with 1 and 2.
            flags={
                "context_tokens": context_within(options.context_tokens, header),
                "slots": options.slots,
                **_settings(options),
                **_embeddings(options, header),
            },
        )

    def launch(self, plan: EnginePlan) -> Launch:
        path = weights_file(plan)
        options = plan.options_as(LocalOptions)
        header = read_header(path)
        projector = options.projector and str(checked(options.projector, plan.deployment))
        return Launch(
            argv=module("changeover.serving.engines.local"),
            config={
                "deployment": plan.deployment,
                "artifact": str(path.absolute()),
                "context_tokens": context_within(options.context_tokens, header),
                "slots": options.slots,
                "threads": options.threads or usable_cores(),
                "settings": _settings(options),
                **_embeddings(options, header),
                **({"projector": projector} if projector else {}),
                **({"adapters": [str(each.artifact.absolute()) for each in plan.adapters]} if plan.adapters else {}),
            },
            patch=_scales(plan.adapters, None),
            adapters={each: Selection(patch=_scales(plan.adapters, each)) for each in plan.adapters},
            environment=ENVIRONMENT,
            sockets=True,
            maps_weights=True,
            first_answer=not options.embeddings,  # a model that makes vectors may have no words
        )


def _settings(options: LocalOptions) -> Mapping[str, Json]:
    return LOCAL_SETTINGS if options.projector is None else {**LOCAL_SETTINGS, "n_batch": EYES_BATCH}


def _scales(held: Sequence[Adapter], chosen: Adapter | None) -> Patch | None:
    """Which of the adapters counts in a request, by number; every other one is said not to.

    Left out, llama.cpp would go on from keys and values that another adapter has computed for the same words.
    """
    if not held:
        return None
    scales = [{"id": number, "scale": each.scale if each == chosen else 0.0} for number, each in enumerate(held)]
    return Patch(fields={"lora": scales}, unread=NO_ADAPTERS)


def _embeddings(options: LocalOptions, header: GgufHeader) -> Mapping[str, Json]:
    """How the vectors of tokens become one, where embeddings are served. Only said there: older bundles stay the same."""
    if not options.embeddings:
        return {}
    return {"embeddings": pooling(header)}


def _version() -> str:
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        raise EngineError(f"The embedded engine needs {NOT_INSTALLED.what}. {NOT_INSTALLED.remedy}") from None

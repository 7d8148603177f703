"""OpenVINO, through openvino-genai, in its own environment behind a front of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from changeover.library.gguf import read_header
from changeover.serving.backends.common import stored_profile, usable_cores
from changeover.serving.backends.foreign import lacking_package
from changeover.serving.backends.fronted import Worker, installed_version, launch_worker, weights_of
from changeover.serving.backends.protocol import Capabilities, Launch, Missing
from changeover.serving.homes import Homes
from changeover.serving.options import Json, OpenVINOOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import READS, size_of

PACKAGE: Final = "openvino-genai"
UNREAD: Final = frozenset({"gemma3"})
"""Networks of GGUF files that its reader refused when it was tried: openvino-genai 2026.4.1."""
_BATCHES: Final = ((1 << 30, 512), (4 << 30, 256))
"""Of weights of at most so many bytes, tokens of prompts that one step computes; it cannot be interrupted."""
_SMALLEST_BATCH: Final = 128


class OpenVINOBackend:
    """OpenVINO. Its pipeline batches continuously, and has no server of its own."""

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
        logprobs=True,  # of the chosen tokens; `top_logprobs` is refused, since the pipeline does not know them
        context_refused=True,
        cancels=True,
        batches=True,
        # No `seeds`: a prompt of which a part was computed earlier is computed otherwise, and unlikely tokens are others.
        key=True,
    )

    def __init__(self, homes: Homes) -> None:
        self._home = homes.python("openvino")

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        lacks = [*lacking_package(self._home, [PACKAGE], "openvino")]
        quantisation = plan.quantisation if plan is not None else None
        if plan is not None and quantisation is not None and not _readable(plan, quantisation):
            lacks.append(
                Missing(
                    what=f"weights as {', '.join(sorted(READS['openvino']))}; OpenVINO does not read {quantisation}",
                    remedy="Use another file of the model, or one that is converted to Q8_0.",
                )
            )
        if plan is not None and (unread := _unread(plan)) is not None:
            what = f"a model that OpenVINO reads from GGUF; it does not read {unread}"
            lacks.append(Missing(what=what, remedy="Take another engine, or a directory that OpenVINO has made."))
        return lacks

    def describe(self, plan: EnginePlan) -> EnginePart:
        options = plan.options_as(OpenVINOOptions)
        loaded = weights_of(plan)
        return EnginePart(
            backend=plan.backend,
            engine="OpenVINO (openvino-genai)",
            engine_version=installed_version(self._home, PACKAGE, "openvino"),
            model=plan.model,
            weights_digest=loaded.digest(plan),
            quantisation=plan.quantisation,
            tokenizer_digest=loaded.tokenizer_digest,
            chat_template_digest=loaded.chat_template_digest,
            flags={
                "context_tokens": loaded.context_tokens(options),
                "slots": options.slots,
                "device": options.device,
                "batched_tokens": _batched_tokens(plan),
            },
            profile=stored_profile(plan, options.profile, architecture=loaded.architecture, chats=loaded.chats),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        options = plan.options_as(OpenVINOOptions)
        loaded = weights_of(plan)
        more: Mapping[str, Json] = {
            "device": options.device,
            "slots": options.slots,
            "threads": options.threads or usable_cores(),
            "cache_gib": options.cache_gib,
            "batched_tokens": _batched_tokens(plan),
        }
        worker = Worker(
            module="changeover.serving.engines.openvino",
            home=self._home,
            skills={"grammar": True, "top_logprobs": False},
            start_s=30.0,
        )
        return launch_worker(worker, plan, options, loaded, more)


def _readable(plan: EnginePlan, quantisation: str) -> bool:
    """A directory holds what OpenVINO itself has made, and what we make for it is as it reads it."""
    if plan.making is not None or (plan.artifact is not None and plan.artifact.suffix != ".gguf"):
        return True
    return quantisation.upper() in READS["openvino"]


def _unread(plan: EnginePlan) -> str | None:
    """The network of weights that are here, if OpenVINO's reader of GGUF is known not to read it."""
    source = plan.artifact if plan.making is None else plan.making.source
    if source is None or source.suffix != ".gguf" or not source.is_file():
        return None
    architecture = read_header(source).architecture
    return architecture if architecture in UNREAD else None


def _batched_tokens(plan: EnginePlan) -> int:
    assert plan.artifact is not None, "a plan for this backend is refused without weights"
    size = size_of(plan.artifact)
    return next((tokens for most, tokens in _BATCHES if size <= most), _SMALLEST_BATCH)

"""Transformers, in its own environment behind a front of ours, for architectures that nothing else serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from changeover.serving.backends.common import stored_profile
from changeover.serving.backends.foreign import lacking_package
from changeover.serving.backends.fronted import Worker, installed_version, launch_worker, weights_of
from changeover.serving.backends.protocol import Capabilities, Launch, Missing
from changeover.serving.homes import Homes
from changeover.serving.options import Json, TransformersOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

PACKAGES: Final = ("transformers", "torch")


class TransformersBackend:
    """Transformers: one request after the other, and no grammar; but whatever the library has a class for."""

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
        logprobs=True,
        top_logprobs=True,
        prompt_logprobs=True,
        context_refused=True,
        cancels=True,
        seeds=True,
        key=True,
    )

    def __init__(self, homes: Homes) -> None:
        self._home = homes.python("transformers")

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return lacking_package(self._home, PACKAGES, "transformers")

    def describe(self, plan: EnginePlan) -> EnginePart:
        options = plan.options_as(TransformersOptions)
        loaded = weights_of(plan)
        versions = {package: installed_version(self._home, package, "transformers") for package in PACKAGES}
        return EnginePart(
            backend=plan.backend,
            engine="transformers",
            engine_version=versions["transformers"],
            model=plan.model,
            weights_digest=loaded.digest(plan),
            quantisation=plan.quantisation,
            tokenizer_digest=loaded.tokenizer_digest,
            chat_template_digest=loaded.chat_template_digest,
            flags={
                "context_tokens": loaded.context_tokens(options),
                "device": options.device,
                "dtype": options.dtype,
                "torch": versions["torch"],
            },
            profile=stored_profile(plan, options.profile, architecture=loaded.architecture, chats=loaded.chats),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        options = plan.options_as(TransformersOptions)
        threads = options.threads or 1
        more: Mapping[str, Json] = {"device": options.device, "dtype": options.dtype, "threads": threads}
        worker = Worker(
            module="changeover.serving.engines.transformers",
            home=self._home,
            skills={"grammar": False, "top_logprobs": True, "prompt_logprobs": True},
            environment={
                "OMP_NUM_THREADS": str(threads),  # torch's threads wait for each other on busy cores
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "DO_NOT_TRACK": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
            start_s=90.0,
        )
        return launch_worker(worker, plan, options, weights_of(plan), more)

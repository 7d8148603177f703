"""The engine without a model that ships for tests and demos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from changeover import __version__
from changeover.serving.backends.common import module, stored_profile
from changeover.serving.backends.protocol import Capabilities, Launch, Missing
from changeover.serving.options import EchoOptions, Json
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

NOT_OPENAIS: Sequence[str] = (
    "chat_template_kwargs",
    "enable_thinking",
    "thinking_budget",
    "top_k",
    "min_p",
    "repetition_penalty",
)
"""Fields that other servers know and an echo engine with `unknown_fields = "refuse"` does not."""


class EchoBackend:
    """The engine without a model that ships for tests and demos."""

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
        tools_forced=True,
        json_schema=True,
        embeddings=True,
        context_refused=True,
        cancels=True,
        batches=True,
        seeds=True,
        key=True,
    )

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return ()

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
            profile=stored_profile(plan, _as_told(options)),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        options = plan.options_as(EchoOptions)
        return Launch(
            argv=module("changeover.serving.engines.echo"),
            config={
                "deployment": plan.deployment,
                "model": plan.model,
                "options": options.model_dump(),
                "behaviour": options.behaviour,
            },
            sockets=True,
            # One that stands in for a model, or rehearses one that fails; others count what they are asked.
            first_answer=options.memory_mib > 0 or options.behaviour != "none",
        )


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

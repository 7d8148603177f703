"""Any OpenAI-compatible server, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from changeover.serving.backends.common import stored_profile
from changeover.serving.backends.protocol import Capabilities, Elsewhere, Missing
from changeover.serving.options import OpenAIOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

WORDS: Final = frozenset({"chat", "completions"})
"""Endpoints of whoever answers in words; one that only makes vectors is asked for none."""


class OpenAIBackend:
    """Any OpenAI-compatible server. What runs behind it cannot be known, so most of its part is None."""

    capabilities = Capabilities(chat=True, beyond="unknown")  # its profile may say more: `changeover conformance`

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        return ()

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
            profile=stored_profile(plan, options.profile, model=options.model),
        )

    def launch(self, plan: EnginePlan) -> Elsewhere:
        options = plan.options_as(OpenAIOptions)
        served = options.profile.get("endpoints") or WORDS
        return Elsewhere(
            base_url=options.base_url,
            model=options.model or plan.model,
            api_key_env=options.api_key_env,
            first_answer=not WORDS.isdisjoint(served),
        )

"""What both ways to llama.cpp have in common: embedded, and as its own server program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from changeover.core.digest import sha256_file
from changeover.library.gguf import GgufHeader
from changeover.serving.backends.common import stored_profile
from changeover.serving.backends.projector import flags_of, seeing
from changeover.serving.options import Json, LlamaServerOptions, LocalOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

ENVIRONMENT: Final[Mapping[str, str]] = {
    "GGML_NO_BACKTRACE": "1",  # a failed assertion would start a debugger
    "GOMP_SPINCOUNT": "1000",  # beside busy cores the default spin costs fifty times the speed
}
EYES_BATCH: Final = 512
"""The tokens of an image have to be computed together by models that let each of them see all others."""


def weights_file(plan: EnginePlan) -> Path:
    """The file of a plan that is refused without one."""
    assert plan.artifact is not None, "a plan for this backend is refused without a file"
    return plan.artifact


def part_of(
    plan: EnginePlan,
    options: LocalOptions | LlamaServerOptions,
    header: GgufHeader,
    *,
    engine: str,
    version: str | None,
    flags: Mapping[str, Json],
) -> EnginePart:
    """The engine's part of a bundle, of a GGUF file's header and of what else decides about answers."""
    return EnginePart(
        backend=plan.backend,
        engine=engine,
        engine_version=version,
        model=plan.model,
        weights_digest=plan.weights_digest or sha256_file(weights_file(plan)),
        quantisation=plan.quantisation,
        tokenizer_digest=header.tokenizer_digest,
        chat_template_digest=header.chat_template_digest,
        flags={**flags, **flags_of(options.projector, plan.deployment)},
        profile=stored_profile(
            plan,
            seeing(options.projector, options.profile),
            architecture=header.architecture,
            embeddings=options.embeddings,
        ),
    )

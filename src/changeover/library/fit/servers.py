"""What serving engines take of each card beside weights and context, and which engine runs a model on an accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from changeover.core.sizes import GIB
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.fit.quantisation import in_gguf
from changeover.library.running import EngineSupport


@dataclass(frozen=True)
class Overhead:
    """What an engine takes of each card, and how much of a card it takes at all."""

    usable: float
    """Share of a card's memory that the engine fills."""
    activations: int
    """What it computes in, bytes."""
    alone: int
    """Of its process, where one card serves."""
    together: int
    """Of its process, where cards talk to each other."""


SERVER: Final = Overhead(usable=0.9, activations=round(1.26 * GIB), alone=round(1.79 * GIB), together=round(2.57 * GIB))
"""vLLM's `--gpu-memory-utilization 0.9`, and what it logged: 1.26 GiB of activations and 1.79 GiB outside PyTorch for
Llama 3 8B on one card (vllm-project/vllm pull request 10511), 2.57 GiB outside PyTorch for DeepSeek-R1 on 2 × 8 cards
(vllm-project/vllm issue 13074). Others are taken to need as much."""

UNIFIED: Final = Overhead(usable=0.75, activations=round(0.5 * GIB), alone=round(0.5 * GIB), together=round(0.5 * GIB))
"""Where processor and accelerator share one memory: macOS lets the accelerator have three quarters of it (65 to 70 % up
to 36 GB; https://stencel.io, https://www.thinkdifferent.blog, read 2026-11-30). The rest is llama.cpp's, assumed."""
GGUF_ENGINE: Final = "llama.cpp"


def overhead_on(accelerator: Accelerator) -> Overhead:
    """What engines take on an accelerator."""
    return UNIFIED if accelerator.kind == "unified" else SERVER


def engine_on(card: Card, accelerator: Accelerator, quantisation: str) -> EngineSupport | None:
    """The first of an accelerator's engines that runs a model; None: none is known to.

    An edition of an engine for the accelerator names the classes that it registers; else the card must name the engine.
    One for which the card has a recipe goes first, and what has since dropped the model last. GGUF files are llama.cpp's.
    """
    gguf = in_gguf(card, quantisation)
    runs = {support.engine: support for support in card.engines}
    if gguf:
        runs.setdefault(GGUF_ENGINE, EngineSupport(engine=GGUF_ENGINE))
    offered = [support for support in accelerator.engines if not gguf or support.engine == GGUF_ENGINE]
    found = [support for support in offered if _runs(card, support, runs)]
    documented = {recipe.engine for recipe in card.recipes}
    return min(found, key=lambda one: (_dropped(one, runs), one.engine not in documented), default=None)


def _runs(card: Card, support: EngineSupport, runs: Mapping[str, EngineSupport]) -> bool:
    return support.engine in runs or card.architecture.transformers_class in support.architectures


def _dropped(support: EngineSupport, runs: Mapping[str, EngineSupport]) -> bool:
    return support.engine in runs and runs[support.engine].until is not None

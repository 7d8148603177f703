"""How many bits a weight takes in each quantisation, with its scales, and what hardware must compute with for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from changeover.library.cards import Card


@dataclass(frozen=True)
class Format:
    """What a quantisation costs."""

    bits: float
    """Of a parameter, scales included, as the vendor counts parameters."""
    computes: str | None
    """The number format that hardware must know to compute with it as it is; None: engines unpack it first."""
    how: str
    """Where the bits come from."""


_WHOLE: Final = "the format itself"
_FP8: Final = (
    "the FP8 checkpoint of DeepSeek-R1 as vLLM loads it: 16 × 39.66 GiB of 671 B (vllm-project/vllm issue 13074)"
)
_MXFP4: Final = "OpenAI's checkpoint of gpt-oss-120b: 60.8 GiB of 116.8 B; attention and embeddings are in bf16"
_GROUPS: Final = "4 bits, and of each group of 128 a scale of 16 bits and a zero point of 4"
_LLAMA: Final = "llama.cpp, examples/quantize/README.md at b8c1476, Llama 2 7B"
_BLOCKS: Final = "the format's blocks, which hold their scales"

FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "fp32": Format(32.0, None, _WHOLE),
        "bf16": Format(16.0, "bf16", _WHOLE),
        "fp16": Format(16.0, "fp16", _WHOLE),
        "fp8": Format(8.13, "fp8", _FP8),
        "int8": Format(8.13, None, "as FP8: 8 bits, and what is left in 16"),
        "nvfp4": Format(
            4.5, "nvfp4", "4 bits, and a scale of 8 bits for each 16; what is left in 16 bits is not counted"
        ),
        "mxfp4": Format(4.47, "mxfp4", _MXFP4),
        "int4": Format(4.5, None, "4 bits, and a scale of 16 bits for each 32; what is left in 16 bits is not counted"),
        "awq": Format(4.16, None, _GROUPS),
        "gptq": Format(4.16, None, _GROUPS),
        "q2_k": Format(3.35, None, _LLAMA),
        "q3_k_m": Format(3.91, None, _LLAMA),
        "q4_k_s": Format(4.58, None, _LLAMA),
        "q4_k_m": Format(4.84, None, _LLAMA),
        "q5_k_m": Format(5.68, None, _LLAMA),
        "q6_k": Format(6.56, None, _LLAMA),
        "q4_0": Format(4.5, None, _BLOCKS),
        "q4_1": Format(5.0, None, _BLOCKS),
        "q5_0": Format(5.5, None, _BLOCKS),
        "q5_1": Format(6.0, None, _BLOCKS),
        "q8_0": Format(8.5, None, _BLOCKS),
    }
)
"""By the name in small letters."""

_SAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bfloat16": "bf16",
        "float16": "fp16",
        "f16": "fp16",
        "float32": "fp32",
        "f32": "fp32",
        "w8a8": "int8",
        "w4a16": "int4",
    }
)

_BLOCKED: Final = re.compile(r"I?Q\d_", re.IGNORECASE)
"""How the names of llama.cpp's formats begin."""


@dataclass(frozen=True)
class Weights:
    """What the weights take."""

    quantisation: str
    bytes: int | None
    """None: not known."""
    how: str


def format_of(quantisation: str) -> Format | None:
    """What a quantisation costs; None for one that nobody here knows."""
    name = quantisation.casefold()
    return FORMATS.get(_SAME.get(name, name))


def in_gguf(card: Card, quantisation: str) -> bool:
    """Whether weights in this quantisation are a GGUF file: one of the card's, or one of llama.cpp's own formats."""
    wanted = quantisation.casefold()
    files = {each.format for each in card.artifacts if each.quantisation.casefold() == wanted}
    return "gguf" in files if files else _BLOCKED.match(quantisation) is not None


def usual_quantisation(card: Card) -> str:
    """The one that a card's weights come in: of its files, its published minima or its recipes; else bf16."""
    if card.artifacts:
        return card.artifacts[0].quantisation
    if card.memory:
        return card.memory[0].quantisation
    return next((recipe.quantisation for recipe in card.recipes if recipe.quantisation), "bf16")


def weights_of(card: Card, quantisation: str) -> Weights:
    """Bytes of a card's weights in a quantisation: of its files where it has them, else parameters times bits."""
    wanted = quantisation.casefold()
    for artifact in card.artifacts:
        if artifact.quantisation.casefold() == wanted:
            return Weights(quantisation, artifact.size_bytes, "the files, exactly")
    known = format_of(quantisation)
    if known is None:
        return Weights(quantisation, None, f"how many bits a weight takes in `{quantisation}`")
    if card.parameters_b is None:
        return Weights(quantisation, None, f"how many parameters `{card.id}` has")
    count = round(card.parameters_b * 1e9 * known.bits / 8)
    return Weights(quantisation, count, f"{card.parameters_b:g} B × {known.bits:g} bits ({known.how})")

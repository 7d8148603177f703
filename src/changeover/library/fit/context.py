"""What keys and values of the context take, by a model's shape; and the shapes that GGUF headers say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from changeover.library.gguf import GgufHeader
from changeover.library.running import Shape

CACHE_ELEMENT_BYTES: Final = 2
"""Keys and values are kept in 16 bits, whatever the weights are in."""
FULL_EVERY: Final[Mapping[str, int]] = MappingProxyType({"gemma3": 6, "gpt-oss": 2})
"""By the architecture's name in GGUF: of so many layers one keeps the whole context, which headers do not say. Source:
transformers 5.23.0, `configuration_gemma3.py` and `configuration_gpt_oss.py`."""


def context_bytes(shape: Shape, tokens: int, requests: int) -> int | None:
    """Keys and values of so many requests with so many tokens each; None where the shape says too little.

    Layers that look back no further than their window keep no more than that. Layers of linear attention keep a state
    that does not grow, which is not counted.
    """
    of_layer = _of_token(shape)
    if of_layer is None:
        return None
    layers = shape.attention_layers or shape.layers
    sliding = min(shape.sliding_layers, layers) if shape.sliding_window_tokens else 0
    kept = min(tokens, shape.sliding_window_tokens or tokens)
    return ((layers - sliding) * tokens + sliding * kept) * of_layer * requests


def context_share(shape: Shape, tensor_parallel: int, pipeline_parallel: int) -> float:
    """The share of the context that one card keeps.

    Heads are split over cards, and kept more than once where there are more cards than heads. The latent of multi-head
    latent attention is kept whole by every card.
    """
    stages = -(-shape.layers // pipeline_parallel) / shape.layers
    if shape.kv_latent_dimension is not None or shape.kv_heads is None:
        return stages
    return stages * -(-shape.kv_heads // tensor_parallel) / shape.kv_heads


def shape_of(header: GgufHeader) -> Shape | None:
    """The shape that a GGUF header says; None where it says no layers or no heads."""
    layers = _count(header, "block_count", 0)
    heads = _count(header, "attention.head_count", 0)
    if not layers or not heads:
        return None
    head = _count(header, "embedding_length", 0) // heads
    both = _count(header, "attention.key_length", head) + _count(header, "attention.value_length", head)
    if not both:
        return None
    window = _count(header, "attention.sliding_window", 0)
    period = FULL_EVERY.get(header.architecture)
    return Shape(
        layers=layers,
        kv_heads=_count(header, "attention.head_count_kv", heads),
        head_dimension=-(-both // 2),
        sliding_layers=layers - layers // period if window and period else 0,
        sliding_window_tokens=window or None,
    )


def _of_token(shape: Shape) -> int | None:
    if shape.kv_latent_dimension is not None:
        return shape.kv_latent_dimension * CACHE_ELEMENT_BYTES
    if shape.kv_heads is None or shape.head_dimension is None:
        return None
    return 2 * shape.kv_heads * shape.head_dimension * CACHE_ELEMENT_BYTES


def _count(header: GgufHeader, key: str, otherwise: int) -> int:
    """A number of a header. Where each layer has its own, the largest that is kept of them."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    if isinstance(value, tuple):
        return max((each for each in value if isinstance(each, int)), default=otherwise)
    return value if type(value) is int else otherwise

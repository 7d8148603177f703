"""Builds small GGUF files for tests, right or wrong in one named way."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import cast

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
_NUMBERS = {U8: "<B", U32: "<I", F32: "<f", BOOL: "<?", U64: "<Q"}

Typed = tuple[int, object]
"""A value type and a value; an array is `(ARRAY, (item type, items))`."""

METADATA: Mapping[str, Typed] = {
    "general.architecture": (STRING, "llama"),
    "general.alignment": (U32, 32),
    "llama.context_length": (U32, 2048),
    "llama.rope.freq_base": (F32, 10000.0),
    "tokenizer.ggml.add_bos_token": (BOOL, False),
    "tokenizer.ggml.tokens": (ARRAY, (STRING, [f"token{number}" for number in range(100)])),
    "tokenizer.ggml.token_type": (ARRAY, (U32, [1] * 100)),
    "tokenizer.chat_template": (STRING, "{{ messages }}"),
}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: object) -> bytes:
    if kind == STRING:
        return string(cast("str", content))
    if kind == ARRAY:
        item_kind, items = cast("tuple[int, list[object]]", content)
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(value(item_kind, item) for item in items)
    return struct.pack(_NUMBERS[kind], content)


def tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def build(
    metadata: Mapping[str, Typed] = METADATA,
    tensors: Sequence[tuple[str, tuple[int, ...], int, int]] = (
        ("token_embd.weight", (64, 4), 8, 0),
        ("output_norm.weight", (64,), 0, 288),
    ),
    *,
    version: int = 3,
    weights: bytes = bytes(range(256)) + bytes(288),
) -> bytes:
    """A whole file. Tensors are name, shape, type and offset: by default a Q8_0 table of 272 bytes and 64 floats."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(
        string(key) + struct.pack("<I", kind) + value(kind, content) for key, (kind, content) in metadata.items()
    )
    head += b"".join(tensor(*one) for one in tensors)
    return head + bytes(-len(head) % 32) + weights

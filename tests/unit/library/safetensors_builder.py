"""Builds small safetensors files for tests, right or wrong in one named way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "I64": 8}


def tensors(*shapes: tuple[str, str, tuple[int, ...]]) -> dict[str, Any]:
    """Header entries for names, types and shapes, one behind the other."""
    header: dict[str, Any] = {}
    end = 0
    for name, dtype, shape in shapes:
        begin, size = end, BYTES[dtype]
        for dimension in shape:
            size *= dimension
        end = begin + size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return header


PLAIN = tensors(("embed.weight", "BF16", (8, 4)), ("norm.weight", "F32", (4,)))


def raw(header: bytes, weights: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with these bytes as its header, and any length claimed for it."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + weights


def build(
    header: Mapping[str, Any] = PLAIN, *, metadata: Any = None, weights: bytes | None = None, seed: int = 0
) -> bytes:
    """A whole file; by default its weights are as long as the header says."""
    whole = dict(header) if metadata is None else {"__metadata__": metadata, **header}
    text = json.dumps(whole, separators=(",", ":")).encode()
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    content = bytes((seed + place) % 256 for place in range(end)) if weights is None else weights
    return raw(text + b" " * (-len(text) % 8), content)

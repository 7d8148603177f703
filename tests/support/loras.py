"""Small LoRA adapters for real weights, as llama.cpp and PEFT write them: deterministic, and strong enough to be seen."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tests.unit.library.gguf_builder import F32, STRING, Typed, build

from changeover.library.gguf import read_header

CHANGED = ("attn_q.weight", "attn_v.weight", "attn_output.weight")
METADATA: Mapping[str, Typed] = {
    "general.architecture": (STRING, "llama"),
    "general.type": (STRING, "adapter"),
    "adapter.type": (STRING, "lora"),
    "adapter.lora.alpha": (F32, 8.0),
}


def gguf_lora(path: Path, weights: Path, *, rank: int = 4, seed: int = 1, strength: float = 0.05) -> Path:
    """Write an adapter that changes some matrices of every block by random ones of low rank."""
    shapes = read_header(weights).shapes
    changed = {name: shape for name, shape in shapes.items() if name.split(".", 2)[-1] in CHANGED}
    random = np.random.default_rng(seed)
    arrays: list[tuple[str, np.ndarray]] = []
    for name, (inputs, outputs) in changed.items():
        down = random.normal(0, 1 / np.sqrt(inputs), (rank, inputs))
        up = random.normal(0, strength, (outputs, rank))
        arrays += [(f"{name}.lora_a", down), (f"{name}.lora_b", up)]
    path.write_bytes(file_of(arrays))
    return path


def file_of(arrays: Sequence[tuple[str, np.ndarray]], metadata: Mapping[str, Typed] = METADATA) -> bytes:
    """A GGUF file of matrices of 32-bit floats."""
    tensors: list[tuple[str, tuple[int, ...], int, int]] = []
    data = b""
    for name, array in arrays:
        tensors.append((name, tuple(reversed(array.shape)), 0, len(data)))
        data += array.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    return build(metadata, tensors, weights=data)


def peft_lora(
    directory: Path, pairs: Mapping[str, tuple[int, int, int]], *, strength: float = 0.0, **config: object
) -> Path:
    """Write a directory as PEFT saves it. Pairs are inputs, rank and outputs, by the name of the module.

    With a `strength` the matrices are random ones; without, the adapter changes nothing.
    """
    random = np.random.default_rng(1)
    directory.mkdir(parents=True, exist_ok=True)
    said = {"peft_type": "LORA", "base_model_name_or_path": "somebody/model", "r": 8, **config}
    (directory / "adapter_config.json").write_text(json.dumps(said))
    header: dict[str, object] = {}
    data = b""
    for name, (inputs, rank, outputs) in pairs.items():
        for half, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
            key = f"base_model.model.{name}.{half}.weight"
            scale = strength and (strength if half == "lora_B" else 1 / np.sqrt(inputs))
            array = random.normal(0, 1, shape) * scale
            begin, data = len(data), data + array.astype("<f4").tobytes()
            header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return directory


def card_of(file: Path, id: str, *, base: str, more: str = "") -> str:
    """The card of an adapter in one file, as an organisation writes it for its own fine-tune."""
    data = file.read_bytes()
    return f"""
[[cards]]
id = "{id}"
display_name = "{id}"
family = "{id}"
vendor = "Us"
weights = "closed"
{more}
sources = [{{ facts = ["everything"], at = "our training run", grade = "run", checked = 2026-11-30 }}]

[cards.licence]
id = "Apache-2.0"

[cards.lineage]
derived_from = "{base}"
derivation = "fine-tuned"

[[cards.artifacts]]
format = "gguf"
quantisation = "F32"
size_bytes = {len(data)}
sha256 = "{hashlib.sha256(data).hexdigest()}"
adapter = {{ base = "{base}", rank = 4 }}
sources = [{{ path = "{file}" }}]
"""

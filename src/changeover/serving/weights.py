"""Weights as engines take them: which of a card's artifacts each kind of engine loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from changeover.library.artifacts import Artifact
from changeover.library.cards import Card
from changeover.serving.options import BackendName

Form = Literal["gguf", "safetensors"]
LOADS: Mapping[BackendName, Form] = {
    "local": "gguf",
    "llama-server": "gguf",
    "ollama": "gguf",
    "openvino": "gguf",
    "ray": "gguf",
    "vllm": "safetensors",
    "kunlun": "safetensors",
    "sglang": "safetensors",
    "transformers": "safetensors",
}
"""What a kind of engine loads; those that are not here load nothing of ours."""


def artifact_for(card: Card, backend: BackendName) -> Artifact | None:
    """The first artifact of a card that a kind of engine loads; None where it has none."""
    form = LOADS.get(backend)
    return next((each for each in card.artifacts if each.adapter is None and _is_of(each, form)), None)


def adapter_for(card: Card, backend: BackendName) -> Artifact | None:
    """The first adapter of a card that a kind of engine can hold beside its weights; None where it has none."""
    form = LOADS.get(backend)
    return next((each for each in card.artifacts if each.adapter is not None and _is_of(each, form)), None)


def _is_of(artifact: Artifact, form: Form | None) -> bool:
    return artifact.format == form and (form != "gguf" or not artifact.files)


def size_of(weights: Path) -> int:
    """Bytes of a file, or of all files of a directory.

    Raises:
        OSError: It is not there.
    """
    if not weights.is_dir():
        return weights.stat().st_size
    return sum(each.stat().st_size for each in weights.rglob("*") if each.is_file())

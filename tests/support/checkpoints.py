"""Tiny checkpoints as a hub has them: shards with their index, a configuration, a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tests.unit.library.safetensors_builder import build, tensors

from changeover.library.artifacts import Artifact, ArtifactFile, ArtifactSource, digest_of_files

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def checkpoint(elements: int = 20_000, **more: bytes) -> dict[str, bytes]:
    """Files by name; each shard has `elements` numbers of four bytes."""
    return {
        "config.json": json.dumps({"model_type": "llama"}).encode(),
        SHARDS[0]: build(tensors(("layer.0", "F32", (elements,))), metadata={"format": "pt"}),
        SHARDS[1]: build(tensors(("layer.1", "F32", (elements,))), seed=7),
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"layer.0": SHARDS[0], "layer.1": SHARDS[1]}}
        ).encode(),
        "tokenizer.json": json.dumps({"version": "1.0"}).encode(),
        "LICENSE": b"Do what is right.\n",
        **more,
    }


def pinned(files: Mapping[str, bytes], *sources: ArtifactSource) -> Artifact:
    """The artifact that a card would have of these files."""
    listed = tuple(
        ArtifactFile(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    )
    return Artifact(
        format="safetensors",
        quantisation="F32",
        size_bytes=sum(len(data) for data in files.values()),
        sha256=digest_of_files(listed),
        files=listed,
        sources=sources,
    )

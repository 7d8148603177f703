"""Weights as engines take them: which of a card's artifacts each kind loads, as it is or made into another form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from changeover.library.artifacts import Artifact, embeddable
from changeover.library.cards import Card
from changeover.library.fetch.progress import Progress, Silent
from changeover.library.pull import artifact_path
from changeover.serving.conversions import TO_Q8_0, TO_SAFETENSORS, Conversion, Form, Making, convert, is_made
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan

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
READS: Mapping[BackendName, frozenset[str]] = {"openvino": frozenset({"Q8_0", "Q4_0", "Q4_1"})}
"""Of kinds that do not read every GGUF file: the quantisations that they do. OpenVINO's reader fails on mixes with Q5_0."""
MADE: Mapping[Form, Conversion] = {"safetensors": TO_SAFETENSORS, "gguf": TO_Q8_0}
"""What makes a form that a card does not have."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What an engine loads of a card."""

    artifact: Artifact
    """What is fetched."""
    conversion: Conversion | None
    """What is made of it then; None: it is loaded as it is."""

    @property
    def quantisation(self) -> str:
        """Of what is loaded."""
        return self.artifact.quantisation if self.conversion is None else self.conversion.quantisation

    def making(self, cache: Path) -> Making | None:
        """The conversion, with the places of what it reads and makes."""
        if self.conversion is None:
            return None
        return Making(
            conversion=self.conversion,
            source=artifact_path(self.artifact, cache),
            source_bytes=self.artifact.size_bytes,
            source_digest=self.artifact.sha256,
            source_quantisation=self.artifact.quantisation,
            cache=cache,
        )


def weights_for(card: Card, backend: BackendName, options: Mapping[str, Any] | None = None) -> Weights | None:
    """What a kind of engine loads of a card: an artifact that it takes, else one that can be made into such.

    Args:
        card: With its artifacts.
        backend: The kind.
        options: Of the deployment; those of Ray say which engine its replicas run.

    Returns:
        None where no artifact leads there, or the engine loads nothing of ours.
    """
    kind = _loader(backend, options or {})
    form = LOADS.get(kind)
    for artifact in card.artifacts:
        if artifact.adapter is None and form is not None and artifact.format == form and _reads(kind, artifact):
            return Weights(artifact=artifact, conversion=None)
    source = embeddable(card.artifacts)
    if form is None or source is None or (form == "gguf" and kind not in READS):
        return None
    return Weights(artifact=source, conversion=MADE[form])


def artifact_for(card: Card, backend: BackendName, options: Mapping[str, Any] | None = None) -> Artifact | None:
    """The artifact of a card that is fetched for a kind of engine; None where it has none."""
    weights = weights_for(card, backend, options)
    return None if weights is None else weights.artifact


def adapter_for(card: Card, backend: BackendName) -> Artifact | None:
    """The first adapter of a card that a kind of engine can hold beside its weights; None where it has none."""
    form = LOADS.get(backend)
    adapters = (artifact for artifact in card.artifacts if artifact.adapter is not None)
    return next((each for each in adapters if each.format == form and (form != "gguf" or not each.files)), None)


def pending(plan: EnginePlan) -> Making | None:
    """What has to be made before a plan's weights are there; None where nothing has to be."""
    return None if plan.making is None or is_made(plan.making) else plan.making


def ready_weights(plan: EnginePlan, homes: Homes, progress: Progress | None = None) -> Path | None:
    """Where a plan's weights are, after making them where they have to be; what they are made of must be fetched.

    Raises:
        EngineError: No environment here can make them.
        ArtifactError: What they are made of is not there, or making them failed.
    """
    making = pending(plan)
    return plan.artifact if making is None else convert(making, homes, progress or Silent())


def size_of(weights: Path) -> int:
    """Bytes of a file, or of all files of a directory.

    Raises:
        OSError: It is not there.
    """
    if not weights.is_dir():
        return weights.stat().st_size
    return sum(each.stat().st_size for each in weights.rglob("*") if each.is_file())


def _loader(backend: BackendName, options: Mapping[str, Any]) -> BackendName:
    return cast("BackendName", options.get("engine", "local")) if backend == "ray" else backend


def _reads(kind: BackendName, artifact: Artifact) -> bool:
    if artifact.format != "gguf":
        return True
    return not artifact.files and (kind not in READS or artifact.quantisation.upper() in READS[kind])

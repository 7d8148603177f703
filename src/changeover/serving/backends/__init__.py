"""Backends: how each kind of engine is described and launched, by name."""

from __future__ import annotations

from collections.abc import Mapping

from changeover.core.errors import ChangeoverError
from changeover.serving.backends.adapter import AdapterBackend
from changeover.serving.backends.common import usable_cores
from changeover.serving.backends.echo import EchoBackend
from changeover.serving.backends.kunlun import KunlunBackend
from changeover.serving.backends.llama_server import LlamaServerBackend
from changeover.serving.backends.local import LocalBackend
from changeover.serving.backends.ollama import OllamaBackend
from changeover.serving.backends.openai import OpenAIBackend
from changeover.serving.backends.openvino import OpenVINOBackend
from changeover.serving.backends.protocol import Attached, Backend, Capabilities, Elsewhere, Launch, Missing, Selection
from changeover.serving.backends.ray import RayBackend
from changeover.serving.backends.sglang import SglangBackend
from changeover.serving.backends.transformers import TransformersBackend
from changeover.serving.backends.vllm import VllmBackend
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

__all__ = [
    "BACKENDS",
    "AdapterBackend",
    "Attached",
    "Backend",
    "Capabilities",
    "EchoBackend",
    "Elsewhere",
    "KunlunBackend",
    "Launch",
    "LlamaServerBackend",
    "LocalBackend",
    "Missing",
    "OllamaBackend",
    "OpenAIBackend",
    "OpenVINOBackend",
    "RayBackend",
    "Selection",
    "SglangBackend",
    "TransformersBackend",
    "VllmBackend",
    "backends_in",
    "describe",
    "launch_of",
    "usable_cores",
]


def backends_in(homes: Homes) -> Mapping[BackendName, Backend]:
    """Every kind of engine, whose software is where `homes` says."""
    engines: dict[BackendName, Backend] = {
        "local": LocalBackend(),
        "llama-server": LlamaServerBackend(homes),
        "ollama": OllamaBackend(homes),
        "echo": EchoBackend(),
        "openai": OpenAIBackend(),
        "openvino": OpenVINOBackend(homes),
        "transformers": TransformersBackend(homes),
        "vllm": VllmBackend(homes),
        "sglang": SglangBackend(homes),
        "kunlun": KunlunBackend(homes),
    }
    return {**engines, "ray": RayBackend(homes, engines), "adapter": AdapterBackend(engines)}


BACKENDS = backends_in(Homes())
"""With all software beside our own."""


def describe(plan: EnginePlan, backends: Mapping[BackendName, Backend] = BACKENDS) -> EnginePart:
    """The engine's part of a bundle, without starting it. Reads the weights' header, and all of them if undigested.

    Raises:
        ArtifactError: The weights are missing or damaged.
        EngineError: The engine's package is not installed.
    """
    return backends[plan.backend].describe(plan)


def launch_of(plan: EnginePlan, backends: Mapping[BackendName, Backend]) -> Launch | None:
    """How it would be started; None where it has no process, or that cannot be said before its files are here."""
    backend = backends.get(plan.backend)
    try:
        launch = None if backend is None else backend.launch(plan)
    except (ChangeoverError, OSError):
        return None
    return launch if isinstance(launch, Launch) else None

"""Backends: how each kind of engine is described and launched, by name."""

from __future__ import annotations

from collections.abc import Mapping

from changeover.serving.backends.common import usable_cores
from changeover.serving.backends.echo import EchoBackend
from changeover.serving.backends.local import LocalBackend
from changeover.serving.backends.openai import OpenAIBackend
from changeover.serving.backends.protocol import Backend, Capabilities, Elsewhere, Launch, Missing
from changeover.serving.options import BackendName
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan

__all__ = [
    "BACKENDS",
    "Backend",
    "Capabilities",
    "EchoBackend",
    "Elsewhere",
    "Launch",
    "LocalBackend",
    "Missing",
    "OpenAIBackend",
    "describe",
    "usable_cores",
]

BACKENDS: Mapping[BackendName, Backend] = {
    "local": LocalBackend(),
    "echo": EchoBackend(),
    "openai": OpenAIBackend(),
}


def describe(plan: EnginePlan) -> EnginePart:
    """The engine's part of a bundle, without starting it. Reads the weights' header, and all of them if undigested.

    Raises:
        ArtifactError: The weights are missing or damaged.
        EngineError: The engine's package is not installed.
    """
    return BACKENDS[plan.backend].describe(plan)

"""Every kind of engine: whether it can run here, where its software is, what it does, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from changeover import __version__
from changeover.serving.backends import Backend, Missing
from changeover.serving.environments import Environment, environments, has_nvidia
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.weights import LOADS, READS

PURPOSES: Final[Mapping[BackendName, str]] = {
    "local": "llama.cpp embedded: any GGUF file, several models at once; comes with Changeover",
    "llama-server": "llama.cpp's own server program, as a system's packages install it",
    "ollama": "Ollama's server, for models of its store or GGUF files",
    "kunlun": "vLLM with Baidu's plugin, on Kunlun P800 cards",
    "adapter": "a LoRA adapter on a deployment that runs: no second copy of the weights",
    "openai": "any OpenAI-compatible address: a cluster, a hosted service",
    "echo": "no model: for tests, and for trying a switch",
}
"""Of kinds that have no environment of their own."""
_PROGRAMS: Final[tuple[BackendName, ...]] = ("llama-server", "ollama")
_PACKAGES: Final[Mapping[BackendName, str]] = {"local": "xllamacpp", "kunlun": "vllm-kunlun"}


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """One kind of engine on this machine."""

    name: str
    purpose: str
    version: str | None
    """None: not installed, or not known before it runs."""
    where: str | None
    """The interpreter or program that it runs by; None where there is none, or it needs none."""
    ready: bool
    """Nothing is missing."""
    missing: Sequence[Missing]
    capabilities: Sequence[str]
    weights: str | None
    """The form that it loads; None: it loads nothing of ours."""
    install: str | None
    """The command that makes its environment; None where it has none of its own."""
    megabytes: int | None
    """What that takes on disk."""
    seconds: int | None
    """About how long that takes."""


def engine_kinds(homes: Homes, backends: Mapping[BackendName, Backend]) -> list[EngineKind]:
    """Every kind, in the order of its options. Looks at files, and starts nothing but what tells of devices."""
    known = environments(nvidia=has_nvidia())
    return [_kind(name, homes, backends.get(name), known.get(name)) for name in OPTIONS]


def _kind(name: BackendName, homes: Homes, backend: Backend | None, own: Environment | None) -> EngineKind:
    version, where = _found(name, homes, own)
    missing = list(backend.missing(None)) if backend is not None else []
    if own is not None and version is None and not missing:
        missing = [Missing(what=f"the package `{own.package}`", remedy=f"`changeover engines install {name}`")]
    if backend is None and name != "adapter":
        missing = [*missing, Missing(what="a backend", remedy="This version of Changeover cannot start it.")]
    return EngineKind(
        name=name,
        purpose=PURPOSES[name] if own is None else own.purpose,
        version=version,
        where=where,
        ready=not missing,
        missing=missing,
        capabilities=backend.capabilities.names() if backend is not None else (),
        weights=_form(name),
        install=None if own is None else f"changeover engines install {name}",
        megabytes=None if own is None else own.megabytes,
        seconds=None if own is None else own.seconds,
    )


def _found(name: BackendName, homes: Homes, own: Environment | None) -> tuple[str | None, str | None]:
    """The version of its software, and what runs it."""
    if name == "echo":
        return __version__, None
    if name in _PROGRAMS:
        return None, homes.command(name, name)
    package = own.package if own is not None else _PACKAGES.get(name)
    if package is None:
        return None, None
    python = homes.python(name)
    version = python.version(package)
    return version, python.executable if version is not None else None


def _form(name: BackendName) -> str | None:
    form = LOADS.get(name)
    if form is None or name not in READS:
        return form
    return f"{form}: {', '.join(sorted(READS[name]))}; others are made into Q8_0"
